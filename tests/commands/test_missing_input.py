"""A missing input is named before anything is written."""

import pytest
from PIL import Image

from lsr.cli import main


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        (["upscale"], ["nowhere.jpg"]),
        (["upscale"], ["nowhere/"]),
        (["upscale"], ["photo.png", "--model", "nowhere.safetensors"]),
        (["degrade", "export"], ["nowhere.jpg"]),
        (["degrade", "export"], ["nowhere/"]),
        (["shard"], ["nowhere/"]),
        (["eval"], ["--data", "nowhere/"]),
        (["eval"], ["--data", "photos", "--targets", "nowhere/"]),
        (["eval"], ["--data", "photos", "--predictions", "nowhere/"]),
        (["eval"], ["--data", "photos", "--model", "nowhere.safetensors"]),
        (["eval"], ["--data", "photos", "--beside", "nowhere/"]),
        (["export"], ["nowhere/"]),
        (["merge-experts"], ["nowhere/", "elsewhere/"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_out_is_not_made_for_a_missing_input(verb, arguments, tmp_path, photo, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for path in ("photo.png", "photos/a.png"):
        Image.fromarray(photo[:16, :16]).save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    out = "made/out.safetensors" if verb[0] in ("export", "merge-experts") else "made"
    assert main([*verb, *arguments, "--out", out]) == 2
    told = capsys.readouterr().err
    assert "nowhere" in told and told.count("\n") == 1 and len(told) < 300
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "command",
    [
        "upscale photos",
        "degrade export photos",
        "shard photos",
        "eval --data photos",
        "export perceptual --format web --runtime package",
    ],
)
@pytest.mark.parametrize(
    ("out", "why"), [("photo.png", "is not a folder"), ("photo.png/a", "cannot be created")]
)
def test_out_that_is_no_folder_is_refused_alike(command, out, why, tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for path in ("photo.png", "photos/a.png"):
        Image.new("RGB", (16, 16)).save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    assert main([*command.split(), "--out", out]) == 2
    assert f": --out {out} {why}: " in capsys.readouterr().err


def test_a_file_to_export_needs_a_folder_above_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert main("export perceptual --format onnx --out photo.png/model.onnx".split()) == 2
    assert "--out photo.png is not a folder" in capsys.readouterr().err
