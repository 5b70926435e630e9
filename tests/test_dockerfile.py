"""The Dockerfile as far as it can be tested without an engine: read, and its package built."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

from support.processes import ROOT


def instructions():
    """Return the instructions of the Dockerfile in order, each with its arguments in one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = filter(None, text.replace("\\\n", " ").splitlines())
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines]


def arguments_of(name):
    return [arguments for each, arguments in instructions() if each == name]


def copied():
    return [name for arguments in arguments_of("COPY") for name in arguments.split()[:-1]]


def test_the_base_is_pinned_and_the_end_is_not_root():
    [base] = arguments_of("FROM")
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = base.removeprefix("python:").rpartition(".")[0]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    last = [name for name, _ in instructions()]
    assert arguments_of("USER") == ["lsr"] and last.index("USER") > last.index("RUN")
    assert "RUN" not in last[last.index("USER") :]
    assert any("useradd --create-home lsr" in command for command in arguments_of("RUN"))
    assert arguments_of("ENTRYPOINT") == ['["lsr"]'] and "lsr" in project["scripts"]


def test_every_source_exists_and_reaches_the_engine():
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in allowed
    assert {f"!{name}" for name in copied()} == {line for line in allowed if line.startswith("!")}
    assert [name for name in copied() if not (ROOT / name).exists()] == []


def test_every_command_is_shell_and_leaves_no_caches():
    commands = arguments_of("RUN")
    assert commands
    for command in commands:
        done = subprocess.run(["sh", "-n", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("apt-get install" in command) == ("rm -rf /var/lib/apt/lists" in command)
        if "pip install" in command:
            assert "--no-cache-dir --constraint constraints.txt" in command


def test_the_device_chooses_what_is_installed():
    """The words that a command substitution adds, as the shell gives them."""
    words = {}
    for device in ("cpu", "cuda"):
        parts = [part for each in arguments_of("RUN") for part in re.findall(r"\$\(.*?\)", each)]
        script = f"DEVICE={device}; echo {' '.join(parts)}"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        words[device] = done.stdout.strip()
    assert words == {
        "cpu": "--extra-index-url https://download.pytorch.org/whl/cpu",
        "cuda": "gcc libc6-dev",
    }
    assert arguments_of("ARG") == ["DEVICE=cpu"]


def test_what_is_copied_is_enough_to_build_the_package(tmp_path):
    for name in copied():
        place = tmp_path / "context" / name
        place.parent.mkdir(exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *options, "-w", tmp_path]
    done = subprocess.run(
        [*map(str, command), "."], cwd=tmp_path / "context", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert {"lsr/cli.py", "lsr/embedded_model/model.safetensors"} <= set(
        zipfile.ZipFile(wheel).namelist()
    )
