"""Reading PNG, TIFF and other files: samples are exact, and orientation is applied once."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.image_files import (
    COLOUR_TYPES,
    RGBA8,
    RGBA16,
    RNG,
    chunk,
    exif_block,
    exif_tags,
    expected,
    levels,
    png,
)

from lsr.images import probe, read_photograph, read_rgb8

# The stored form of an upright picture for each orientation, by the table in the EXIF standard.
STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", COLOUR_TYPES)
@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_samples_are_exact(
    tmp_path: Path, kind: str, samples: np.ndarray, interlaced: bool
) -> None:
    colour_type, channels = COLOUR_TYPES[kind]
    path = tmp_path / "a.png"
    path.write_bytes(png(samples[..., channels], colour_type, interlaced=interlaced))
    photograph = read_photograph(path)
    assert photograph.bits == samples.itemsize * 8
    assert photograph.grey == (1 not in channels)
    assert (photograph.alpha is None) == (3 not in channels)
    np.testing.assert_array_equal(levels(photograph), expected(samples, channels))
    in_eight_bits = np.round(
        expected(samples, channels)[..., :3] / (257 if samples.itemsize == 2 else 1)
    )
    np.testing.assert_array_equal(read_rgb8(path), in_eight_bits)
    assert read_rgb8(path).dtype == np.uint8 and read_rgb8(path).flags.writeable


@pytest.mark.parametrize("layout", ["grey", "rgb", "rgba"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
def test_tiff_samples_are_exact(
    tmp_path: Path, layout: str, compression: str | None, byte_order: str, samples: np.ndarray
) -> None:
    channels = COLOUR_TYPES[layout][1]
    path = tmp_path / "a.tif"
    stored = samples[..., channels].squeeze()
    if compression == "lzw":
        order = [2, 1, 0, 3][: len(channels)] if len(channels) > 1 else [0]
        assert cv2.imwrite(
            str(path), np.atleast_3d(stored)[..., order], [cv2.IMWRITE_TIFF_COMPRESSION, 5]
        )
    else:
        extra = ["unassalpha"] if layout == "rgba" else None
        photometric = "minisblack" if layout == "grey" else "rgb"
        tifffile.imwrite(
            path,
            stored,
            photometric=photometric,
            compression=compression,
            byteorder=byte_order,
            extrasamples=extra,
        )
    photograph = read_photograph(path)
    assert photograph.bits == samples.itemsize * 8
    np.testing.assert_array_equal(levels(photograph), expected(samples, channels))


@pytest.mark.parametrize("samples", [RGBA8, RGBA16], ids=["8", "16"])
def test_tiff_with_inverted_grey(tmp_path: Path, samples: np.ndarray) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.iinfo(samples.dtype).max - samples[..., 0], photometric="miniswhite"
    )
    np.testing.assert_array_equal(
        levels(read_photograph(tmp_path / "a.tif")), expected(samples, [0])
    )


def test_tiff_with_multiplied_alpha(tmp_path: Path) -> None:
    alpha = RGBA16[..., 3:] // 2 + 32768
    multiplied = np.rint(RGBA16[..., :3] / 65535 * alpha).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.dstack([multiplied, alpha]),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    found = levels(read_photograph(tmp_path / "a.tif"))
    assert np.abs(found[..., :3] - RGBA16[..., :3].astype(int)).max() <= 1
    np.testing.assert_array_equal(found[..., 3:], alpha)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_tiff(tmp_path: Path, channels: int, dtype: type) -> None:
    values = RNG.random((17, 23, channels)).astype(dtype)
    extra = ["unassalpha"] if channels == 4 else None
    tifffile.imwrite(
        tmp_path / "a.tif",
        values.squeeze(),
        photometric="minisblack" if channels == 1 else "rgb",
        extrasamples=extra,
    )
    photograph = read_photograph(tmp_path / "a.tif")
    assert photograph.bits == 16 and photograph.grey == (channels == 1)
    np.testing.assert_array_equal(
        photograph.pixels, np.broadcast_to(values[..., :3].astype(np.float32), (17, 23, 3))
    )
    if channels == 4:
        np.testing.assert_array_equal(photograph.alpha, values[..., 3].astype(np.float32))
    np.testing.assert_array_equal(read_rgb8(tmp_path / "a.tif"), np.rint(photograph.pixels * 255))
    assert probe(tmp_path / "a.tif") == (23, 17)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    "kind",
    [
        "jpeg",
        "webp",
        "png8",
        "png16",
        "png_behind",
        "png_grey_alpha16",
        "tiff8",
        "tiff16",
        "tiff16_zlib",
    ],
)
def test_orientation_is_applied_once(tmp_path: Path, orientation: int, kind: str) -> None:
    path = tmp_path / f"a.{kind[:3]}"
    # Blocks of 8 let JPEG keep the colours apart, whichever way it is turned.
    upright = np.kron(RNG.integers(0, 256, (3, 4, 4), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    if "16" in kind:
        upright = upright.astype(np.uint16) * 256 + RNG.integers(
            0, 256, upright.shape, dtype=np.uint16
        )
    stored = np.ascontiguousarray(STORED[orientation](upright))
    exif = exif_block(orientation)
    if kind in ("jpeg", "webp"):
        options = {"quality": 100, "subsampling": 0} if kind == "jpeg" else {"lossless": True}
        Image.fromarray(stored[..., :3]).save(path, kind, exif=b"Exif\0\0" + exif, **options)
    elif kind.startswith("tiff"):
        compression = "zlib" if "zlib" in kind else None
        orient = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(
            path,
            stored,
            photometric="rgb",
            extrasamples=["unassalpha"],
            compression=compression,
            extratags=orient,
        )
    else:
        where = "behind" if kind == "png_behind" else "before"
        colour_type, channels = COLOUR_TYPES["grey_alpha" if "grey" in kind else "rgba"]
        path.write_bytes(png(stored[..., channels], colour_type, **{where: chunk(b"eXIf", exif)}))
    photograph = read_photograph(path)
    channels = [0, 3] if "grey" in kind else [0, 1, 2] if kind in ("jpeg", "webp") else [0, 1, 2, 3]
    assert np.abs(levels(photograph) - expected(upright, channels)).max() <= (
        4 if kind == "jpeg" else 0
    )
    assert read_rgb8(path).shape == (24, 32, 3)
    assert probe(path) == (32, 24)
    if not kind.startswith("tiff"):
        main, details, place = exif_tags(photograph.exif)
        assert main == {0x010F: "Maker"}
        assert (details, place) == exif_tags(exif)[1:]
