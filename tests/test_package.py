"""The wheel: what `pip install .` puts into an environment."""

import shutil
import subprocess
import sys
import zipfile

import pytest
from support.processes import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the tracked files: a build leaves folders behind."""
    copy = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *options, "-w", out, copy]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_all_modules_the_model_and_nothing_else(wheel):
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"lsr", "callbacks", "datamodules"}
    sources = [
        path.relative_to(ROOT).as_posix()
        for package in ("lsr", "callbacks", "datamodules")
        for path in (ROOT / package).rglob("*.py")
    ]
    data = [
        "lsr/embedded_model/README.md",
        "lsr/embedded_model/faithful.safetensors",
        "lsr/embedded_model/model.safetensors",
        "lsr/export/web/index.html",
        "lsr/export/web/page.js",
        "lsr/export/web/style.css",
        "lsr/export/web/worker.js",
        "lsr/knee/network.npz",
    ]
    assert sorted(names) == sorted(sources + data)


def test_the_wheel_tells_licence_and_command(wheel):
    info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert "lsr = lsr.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_the_installed_wheel_upscales_outside_of_the_repository(wheel, photo, tmp_path):
    from PIL import Image

    site = tmp_path / "site-packages"
    wheel.extractall(site)
    Image.fromarray(photo[:12, :16]).save(tmp_path / "photo.png")
    # -I keeps the repository out of the module path.
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from lsr.cli import main; import lsr; "
    code += f"assert lsr.__file__.startswith({str(site)!r}); "
    code += "sys.exit(main(['upscale', 'photo.png', '--out', 'out']))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "out" / "photo.png").size == (64, 48)
