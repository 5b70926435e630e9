"""`lsr degrade preview`: a picture of a photograph and its LR images."""

import pytest
from PIL import Image

from lsr.cli import main


def preview(image, *options):
    return main(["degrade", "preview", str(image), *map(str, options)])


def test_the_preview_names_its_file_after_photograph_and_preset(
    photos, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert preview(photos / "b.jpg", "--preset", "stablesr", "--n", "3", "--crop", "32") == 0
    assert capsys.readouterr().out == "b-stablesr.png\n"
    assert Image.open("b-stablesr.png").size[0] > 2 * 192
    options = ["--n", "1", "--crop", "0", "--scale", "3", "--out", "x/y.png"]
    assert preview(photos / "b.jpg", *options) == 0
    assert (tmp_path / "x" / "y.png").is_file()


@pytest.mark.parametrize(
    "options", [["--n", "0"], ["--crop", "3"], ["--crop", "-1"], ["--out", "a.jpg"]]
)
def test_bad_previews_are_bad_usage(photos, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    assert preview(photos / "a.png", *options) == 2


def test_a_preview_that_cannot_be_written_is_one_line(photos, capsys):
    assert preview(photos / "a.png", "--n", "1", "--out", photos / "b.jpg" / "x.png") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_preview_never_replaces_its_photograph(photos):
    before = (photos / "a.png").read_bytes()
    assert preview(photos / "a.png", "--out", photos / "a.png") == 2
    assert (photos / "a.png").read_bytes() == before
