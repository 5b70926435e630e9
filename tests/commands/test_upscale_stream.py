"""`lsr upscale -` makes of a picture on standard input what it makes of the same file."""

import errno
import io
import os
import pty
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from lsr.cli import main
from lsr.images import Photograph, write_png
from lsr.models.checkpoint import save_denoiser
from lsr.models.denoiser import Denoiser


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures(photo, place):
    """Files of many formats and kinds."""
    small = photo[:12, :16]
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a pier"
    exif[0x0112] = 6
    Image.fromarray(small).save("colour.jpg", icc_profile=icc, exif=exif, dpi=(300, 300))
    Image.fromarray(small).convert("L").save("grey.webp", lossless=True)
    Image.fromarray(np.dstack([small, small[..., 0]])).save("rgba.tif")
    write_png(place / "sixteen.png", Photograph(small.astype(np.float32) / 255, bits=16))
    Image.fromarray(small).save("plain.bmp")
    return ["colour.jpg", "grey.webp", "rgba.tif", "sixteen.png", "plain.bmp"]


@pytest.fixture
def through(monkeypatch, capsysbinary):
    """Return a function that runs a command with bytes on standard input."""

    def run(data, *arguments):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = main(["upscale", *map(str, arguments)])
        out, err = capsysbinary.readouterr()
        return code, out, err.decode()

    return run


def test_the_result_is_that_of_the_file_in_its_format(model, pictures, through, place):
    assert main(["upscale", *pictures, "--model", str(model), "--format", "same"]) == 0
    through(b"", "-")  # empties what the capture holds so far
    for name in pictures:
        code, out, err = through((place / name).read_bytes(), "-", "--model", model)
        result = place / "upscaled" / name
        expected = result if result.exists() else result.with_suffix(".png")
        assert (code, err) == (0, "") and out == expected.read_bytes(), name


@pytest.mark.parametrize(
    "options",
    [
        ["--fidelity", "0.5"],
        ["--model", "faithful", "--steps", "2", "--seed", "3", "--color-fix", "wavelet"],
        ["--model", "faithful", "--scale", "1.5", "--format", "webp", "--quality", "50"],
        ["--format", "jpeg", "--background", "white"],
    ],
)
def test_every_option_does_what_it_does_to_the_file(options, pictures, through, place):
    format_of_files = [] if "--format" in options else ["--format", "same"]
    assert main(["upscale", "rgba.tif", *options, *format_of_files]) == 0
    through(b"", "-")
    code, out, err = through((place / "rgba.tif").read_bytes(), "-", *options)
    assert out == next((place / "upscaled").glob("rgba*")).read_bytes(), err


def test_a_format_can_be_chosen_and_what_is_lost_is_told_on_stderr(model, pictures, through, place):
    data = (place / "sixteen.png").read_bytes()
    code, out, err = through(data, "-", "--model", model, "--format", "jpeg", "--scale", "2")
    with Image.open(io.BytesIO(out)) as image:
        assert (code, image.format, image.size) == (0, "JPEG", (32, 24))
    assert err.startswith("note: standard input: 16 bits per sample became 8")
    code, out, err = through(
        (place / "rgba.tif").read_bytes(), "-", "--model", model, "--format", "jpeg"
    )
    assert (code, out) == (1, b"") and err.startswith("failed: standard input: JPEG cannot store")


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_one_line_and_nothing_is_written(data, model, through):
    code, out, err = through(data, "-", "--model", model)
    assert (code, out) == (1, b"") and err.startswith("failed: standard input: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "photo.jpg"], "must stand alone"),
        (["-", "-"], "must stand alone"),
        (["-", "--devices", "2"], "leave out --devices"),
        (["-", "--out", "upscaled"], "leave out --out"),
        (["-", "--save-compare"], "leave out --save-compare"),
        (["-", "--scale", "0"], "the scale must be a number above 0"),
        (["-", "--model", "none.safetensors"], "none.safetensors"),
    ],
)
def test_what_does_not_fit_is_bad_usage_before_anything_is_read(arguments, message, through):
    code, out, err = through(b"unread", *arguments)
    assert (code, out) == (2, b"") and message in err and err.count("\n") == 1
    assert sys.stdin.buffer.read() == b"unread"


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_terminal_is_bad_usage(stream, monkeypatch, capsys):
    leader, follower = pty.openpty()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"unread")))
    with open(follower, "r+b", buffering=0) as terminal:
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(terminal, write_through=True))
        assert main(["upscale", "-"]) == 2
    os.close(leader)
    [line] = capsys.readouterr().err.splitlines()
    assert "is a terminal" in line and len(line) <= 200


def test_a_reader_that_goes_away_ends_it_quietly(model, pictures, place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper((place / "colour.jpg").open("rb")))
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writing, "w"))
    assert main(["upscale", "-", "--model", str(model)]) == 1
    sys.stdout.close()  # nothing more fails when the rest of the buffer is written
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_one_line(model, pictures, place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper((place / "colour.jpg").open("rb")))
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["upscale", "-", "--model", str(model)]) == 2
    assert capsys.readouterr().err == "lsr upscale: standard output: No space left on device\n"


class FullFile(io.BytesIO):
    def write(self, data, /):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("full", ["of the picture", "of the result"])
def test_a_full_disk_of_temporary_files_is_named(
    full, model, pictures, through, place, monkeypatch
):
    # What the buffer of a real file holds fails once more when the file is closed.
    is_picture = full == "of the picture"
    of_picture = open("/dev/full", "w+b") if is_picture else io.BytesIO()  # noqa: SIM115
    files = iter([of_picture, FullFile()])
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: next(files))
    data = (place / "colour.jpg").read_bytes()
    code, out, err = through(data, "-", "--model", model, "--color-fix", "none")
    assert out == b"" and code == (2 if is_picture else 1)
    assert f"{place} has no space for a temporary file: set TMPDIR" in err and err.count("\n") == 1


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_closed_stream_is_one_line(stream, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"unread")))
    monkeypatch.setattr(sys, stream, None)
    assert main(["upscale", "-"]) == 2
    assert "standard input or output is closed" in capsys.readouterr().err


def test_a_file_named_minus_is_a_file(model, photo, place, capsys):
    Image.fromarray(photo[:4, :4]).save(place / "-", "PNG")
    assert main(["upscale", "./-", "--model", str(model)]) == 0, capsys.readouterr().err
    assert (place / "upscaled" / "-.png").exists()


def test_tags_guide_it_and_no_sidecar_is_looked_for(denoiser, generator, pictures, through, place):
    guided = Denoiser(replace(denoiser.config, guidance="tags", vocabulary=("cat", "fur")))
    for parameter in guided.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    config = asdict(guided.config) | {"shift": 3.0}
    save_denoiser(place / "guided.safetensors", guided.state_dict(), config)
    data = (place / "colour.jpg").read_bytes()
    results = [
        through(data, "-", "--model", "guided.safetensors", *tags)
        for tags in ([], ["--tags", "none"], ["--tags", "cat"])
    ]
    assert [(code, err) for code, _, err in results] == [(0, "")] * 3
    assert results[0] == results[1] != results[2]
