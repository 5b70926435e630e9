"""`lsr upscale`: transparency, metadata and size limits of the formats, and folders of results."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lsr.cli import main
from lsr.images import read_photograph
from lsr.nn.dit import LinearDiT


@pytest.fixture
def upscale(model, tmp_path, capsys):
    """Return a function that upscales files; it returns the exit code and the lines of stderr."""

    def run(*arguments, out="out"):
        paths = ["--out", str(tmp_path / out), "--model", str(model)]
        code = main(["upscale", *map(str, arguments), *paths])
        return code, capsys.readouterr().err.splitlines()

    return run


def rgba(photo, alpha):
    return Image.fromarray(np.dstack([photo[:12, :16], np.full((12, 16), alpha, np.uint8)]))


def test_opaque_alpha_is_no_obstacle_for_jpeg(upscale, photo, tmp_path):
    rgba(photo, 255).save(tmp_path / "a.png")
    Image.fromarray(photo[:12, :16]).save(tmp_path / "plain.png")
    files = tmp_path / "a.png", tmp_path / "plain.png"
    assert upscale(*files, "--format", "jpeg") == (0, [])
    results = [(tmp_path / "out" / name).read_bytes() for name in ("a.jpg", "plain.jpg")]
    assert results[0] == results[1]
    assert upscale(*files)[0] == 0
    assert read_photograph(tmp_path / "out" / "a.png").alpha is not None


@pytest.mark.parametrize(("colour", "expected"), [("white", (1, 1, 1)), ("#ff8000", (1, 0.5, 0))])
@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_a_colour_comes_behind_transparency(upscale, photo, tmp_path, colour, expected, form):
    rgba(photo, 0).save(tmp_path / "clear.png")
    rgba(photo, 0).convert("LA").save(tmp_path / "grey.png")
    files = tmp_path / "clear.png", tmp_path / "grey.png"
    assert upscale(*files, "--format", form, "--background", colour) == (0, [])
    for name in ("clear", "grey"):
        result = read_photograph(next((tmp_path / "out").glob(f"{name}.*")))
        assert result.alpha is None
        assert result.pixels.mean((0, 1)) == pytest.approx(expected, abs=0.06)


def test_a_colour_that_is_none_is_refused(upscale, photo, tmp_path):
    rgba(photo, 0).save(tmp_path / "a.png")
    code, lines = upscale(tmp_path / "a.png", "--background", "see-through")
    assert code == 2 and lines == [
        "lsr upscale: --background see-through is no colour such as white or '#ff8800'"
    ]


def test_what_the_format_does_not_keep_is_noted(upscale, photo, tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat")
    Image.fromarray(photo[:12, :16]).save(tmp_path / "a.png", pnginfo=text)
    assert upscale(tmp_path / "a.png") == (0, [])
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.text == {"parameters": "a cat"}
    note = "not kept: text (parameters), which only PNG holds: choose png"
    assert upscale(tmp_path / "a.png", "--format", "webp") == (
        0,
        [f"note: {tmp_path / 'a.png'}: {note}"],
    )


def test_the_limit_of_pixels_is_an_option(upscale, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    Image.fromarray(photo[:12, :16]).save(tmp_path / "a.png")
    code, lines = upscale(tmp_path / "a.png")
    assert code == 1 and "more than 40 pixels, the limit: raise it by --max-pixels" in lines[0]
    assert upscale(tmp_path / "a.png", "--max-pixels", "192") == (0, [])
    assert upscale(tmp_path / "a.png", "--max-pixels", "0")[0] == 2
    assert upscale(tmp_path / "a.png", "--scale", "2")[0] == 1, "the limit is that of one command"


def test_a_shortage_of_memory_without_a_text_is_named(upscale, photo, tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise MemoryError  # as Pillow does

    monkeypatch.setattr(LinearDiT, "forward", fails)
    Image.fromarray(photo[:12, :16]).save(tmp_path / "a.png")
    code, lines = upscale(tmp_path / "a.png")
    assert code == 1 and lines[0].endswith("a.png: out of memory")


@pytest.mark.parametrize("out", ["in", "."])
def test_a_folder_of_results_that_holds_the_photographs_is_refused(upscale, photo, tmp_path, out):
    (tmp_path / "in").mkdir()
    Image.fromarray(photo[:12, :16]).save(tmp_path / "in" / "a.png")
    code, lines = upscale(tmp_path / "in", out=out)
    assert code == 2 and "lie in the folder of the results" in lines[0]
