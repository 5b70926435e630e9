"""`lsr upscale` on photographs with odd names, on photographs that vanish, and on a full disk."""

import os
import resource

import pytest
from PIL import Image

import lsr.inference.upscaler as upscaler_module
from lsr.cli import main

NAMES = [
    "夜の海.png",
    "صورة.png",
    "фото №1.png",
    "two\nlines.png",
    "-rf.png",
    "a" * 246 + ".png",
    "v1.0 final.png",
    "%s {0} $HOME.png",
    os.fsdecode(b"latin-\xe9.png"),
]


@pytest.fixture
def folder(tmp_path, photo):
    (tmp_path / "in").mkdir()
    for name in NAMES:
        Image.fromarray(photo[:8, :8]).save(tmp_path / "in" / name)
    return tmp_path / "in"


def test_every_name_is_kept_and_known_again(folder, model, tmp_path, capsys):
    command = ["upscale", str(folder), "--model", str(model), "--out", str(tmp_path / "out")]
    for earlier in ("", f", {len(NAMES)} of them by an earlier run"):
        assert main(command) == 0
        assert capsys.readouterr().out.endswith(
            f"{len(NAMES)} of {len(NAMES)} images are in {tmp_path / 'out'}{earlier}\n"
        )
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == sorted(NAMES)


def test_a_photograph_that_vanishes_is_named_and_the_rest_is_done(
    folder, model, tmp_path, capsys, monkeypatch
):
    load = upscaler_module.load_denoiser

    def vanish(path):
        (folder / NAMES[0]).unlink(missing_ok=True)
        return load(path)

    monkeypatch.setattr(upscaler_module, "load_denoiser", vanish)
    command = ["upscale", str(folder), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    told = capsys.readouterr()
    assert f"{NAMES[0]}: No such file" in told.err
    assert f"{len(NAMES) - 1} of {len(NAMES)} images" in told.out


def test_a_full_disk_is_told_for_each_photograph_and_leaves_no_half_of_one(
    folder, model, tmp_path, capsys
):
    # A limit on the size of files fails like a full disk, in the middle of a file.
    (folder / NAMES[-1]).unlink()  # pytest's stderr, other than a terminal, refuses such bytes
    command = ["upscale", str(folder), "--model", str(model), "--out", str(tmp_path / "out")]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        assert main(command) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = capsys.readouterr()
    assert told.err.count("failed: ") == len(NAMES) - 1 and "File too large" in told.err
    assert not list((tmp_path / "out").iterdir())
    assert main(command) == 0
