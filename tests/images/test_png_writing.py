"""Written PNG files: samples and metadata are kept, and a failed write leaves nothing behind."""

import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from support.image_files import COLOUR_TYPES, RGBA8, RGBA16, RNG, exif_tags, expected, levels, png

from lsr.images import Photograph, read_photograph, write_png


@pytest.mark.parametrize("kind", COLOUR_TYPES)
@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
def test_written_png_is_exact_for_other_readers_too(
    tmp_path: Path, kind: str, samples: np.ndarray
) -> None:
    colour_type, channels = COLOUR_TYPES[kind]
    tall = np.concatenate([samples] * 40)
    (tmp_path / "in.png").write_bytes(png(tall[..., channels], colour_type))
    write_png(tmp_path / "out.png", read_photograph(tmp_path / "in.png"))
    data = (tmp_path / "out.png").read_bytes()
    assert (data[24], data[25]) == (samples.itemsize * 8, colour_type)
    np.testing.assert_array_equal(
        levels(read_photograph(tmp_path / "out.png")), expected(tall, channels)
    )
    other = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    other = np.atleast_3d(other)[..., [0] if other.ndim == 2 else [2, 1, 0, 3][: other.shape[2]]]
    wanted = expected(tall, channels)
    np.testing.assert_array_equal(
        other, wanted[..., [0, 1, 2, 3] if other.shape[2] == 4 else list(range(other.shape[2]))]
    )


@pytest.mark.parametrize("kind", ["8", "16", "float"])
@pytest.mark.parametrize("grey", [False, True])
def test_metadata_survives_writing(tmp_path: Path, kind: str, grey: bool) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    samples = {"8": RGBA8, "16": RGBA16, "float": RGBA16 / np.float32(65535)}[kind][
        ..., [0] if grey else [0, 1, 2]
    ]
    tags = [(34675, "B", len(icc), icc, True), (271, "s", 6, "Maker", True)]
    tifffile.imwrite(
        tmp_path / "a.tif",
        samples.squeeze(),
        photometric="minisblack" if grey else "rgb",
        extratags=tags,
    )
    photograph = read_photograph(tmp_path / "a.tif")
    assert photograph.icc == icc
    main = exif_tags(photograph.exif)[0]
    assert main[271] == "Maker" and not {256, 257, 258, 273, 279, 34675} & set(main)
    write_png(tmp_path / "b.png", photograph)
    again = read_photograph(tmp_path / "b.png")
    assert (again.icc, again.exif, again.bits, again.grey) == (
        icc,
        photograph.exif,
        8 if kind == "8" else 16,
        grey,
    )
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["icc_profile"] == icc and image.getexif()[271] == "Maker"


def test_photograph_of_bare_pixels_is_a_plain_png(tmp_path: Path) -> None:
    pixels = np.array([[[-0.5, 0.0, 0.5 / 255 - 1e-4], [0.5 / 255 + 1e-4, 1.0, 7.0]]], np.float32)
    write_png(tmp_path / "a.png", Photograph(pixels))
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), [[[0, 0, 0], [1, 255, 255]]])
        assert image.mode == "RGB" and not image.info


@pytest.mark.parametrize("existing", [False, True])
def test_failing_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    path = tmp_path / "a.png"
    if existing:
        path.write_bytes(b"the old one")
    pixels = np.zeros((600, 4, 3), np.float32)
    pixels[-1] = np.nan
    with pytest.raises(AssertionError):
        write_png(path, Photograph(pixels))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_png(path, Photograph(np.zeros((4, 4, 3), np.float32)))
    assert list(tmp_path.iterdir()) == ([path] if existing else [])
    assert not existing or path.read_bytes() == b"the old one"


def test_written_file_is_alone_and_has_the_usual_permissions(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", Photograph(np.zeros((4, 4, 3), np.float32)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (tmp_path / "b.png").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b.png").stat().st_mode


def test_wide_range_of_sizes_round_trips(tmp_path: Path) -> None:
    for height, width in itertools.product((1, 2, 255, 256, 257, 513), (1, 3)):
        pixels = RNG.integers(0, 65536, (height, width, 3)).astype(np.float32) / np.float32(65535)
        write_png(tmp_path / "a.png", Photograph(pixels, bits=16))
        np.testing.assert_array_equal(read_photograph(tmp_path / "a.png").pixels, pixels)
