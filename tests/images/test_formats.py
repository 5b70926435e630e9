"""Formats of today's phones and browsers, and the limit of pixels."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.image_files import RGBA8, png

from lsr.images import IMAGE_SUFFIXES, UnreadableImage, check_pixels, probe, read_photograph
from lsr.images.opening import MAX_PIXELS


def test_a_gif_is_read_with_its_transparency(tmp_path):
    palette = Image.fromarray(RGBA8[..., :3]).quantize(16)
    palette.save(tmp_path / "a.gif", transparency=3)
    photograph = read_photograph(tmp_path / "a.gif")
    np.testing.assert_array_equal(photograph.alpha == 0, np.asarray(palette) == 3)
    assert probe(tmp_path / "a.gif") == (23, 17)


def test_an_avif_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGBA8).save(tmp_path / "a.avif", quality=100, exif=exif)
    photograph = read_photograph(tmp_path / "a.avif")
    assert photograph.pixels.shape == (23, 17, 3) and photograph.alpha is not None
    assert probe(tmp_path / "a.avif") == (17, 23) and ".avif" in IMAGE_SUFFIXES


def test_an_heic_names_the_package_that_reads_it(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    if ".heic" in IMAGE_SUFFIXES:
        expected = "damaged"
    else:
        expected = "a.heic: an HEIC image: pip install pillow-heif, or save it as PNG or JPEG"
    with pytest.raises(UnreadableImage, match=expected):
        read_photograph(tmp_path / "a.heic")


def test_the_package_for_heic_is_used_where_it_is_installed(tmp_path):
    """A package of that name that reads one format of Pillow's stands for it."""
    (tmp_path / "pillow_heif.py").write_text(
        "from PIL import Image, QoiImagePlugin\n"
        "def register_heif_opener():\n"
        "    Image.register_open('HEIF', QoiImagePlugin.QoiImageFile, QoiImagePlugin._accept)\n"
    )
    Image.fromarray(RGBA8[..., :3]).save(tmp_path / "a.heic", "QOI")
    code = (
        "from pathlib import Path; from lsr.images import find_images, read_photograph; "
        f"[path] = find_images(Path({str(tmp_path)!r})); "
        "assert read_photograph(path).pixels.shape == (17, 23, 3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_limit_of_pixels_can_be_raised_and_lowered(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(RGBA8, 6))
    before = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for read in (probe, read_photograph):
        with pytest.raises(UnreadableImage, match="more than 20 pixels, the limit: raise it by"):
            read(tmp_path / "a.png")
        monkeypatch.setenv(MAX_PIXELS, str(17 * 23))
        read(tmp_path / "a.png")
        monkeypatch.setenv(MAX_PIXELS, str(17 * 23 - 2))
        with pytest.raises(UnreadableImage, match="more than 389 pixels"):
            read(tmp_path / "a.png")
        monkeypatch.delenv(MAX_PIXELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", before)
    monkeypatch.setenv(MAX_PIXELS, "many")
    with pytest.raises(ValueError, match="LSR_MAX_PIXELS must be a whole number above 0"):
        probe(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_damage_behind_the_header_is_found_without_keeping_the_pixels(tmp_path, kind, capfd):
    noise = np.random.default_rng(0).integers(0, 256, (160, 120, 3), dtype=np.uint8)
    path = tmp_path / "a"
    Image.fromarray(noise).save(path, kind)
    assert check_pixels(path) == (120, 160)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UnreadableImage):
        check_pixels(path)
