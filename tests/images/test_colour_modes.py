"""Palettes, colour keys, bilevel pictures, several frames and CMYK become RGB."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.image_files import RGBA8, RGBA16, chunk, png

from lsr.images import read_photograph, read_rgb8


def test_other_kinds_of_colour(tmp_path: Path) -> None:
    colour = Image.fromarray(RGBA8[..., :3])
    palette = colour.quantize(16)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        read_rgb8(tmp_path / "palette.png"), np.asarray(palette.convert("RGB"))
    )
    palette.save(tmp_path / "clear.png", transparency=3)
    np.testing.assert_array_equal(
        read_photograph(tmp_path / "clear.png").alpha == 0, np.asarray(palette) == 3
    )
    colour.save(tmp_path / "keyed.png", transparency=tuple(int(v) for v in RGBA8[2, 3, :3]))
    assert np.argwhere(read_photograph(tmp_path / "keyed.png").alpha == 0).tolist() == [[2, 3]]
    key = struct.pack(">HHH", *RGBA16[2, 3, :3])
    (tmp_path / "keyed16.png").write_bytes(png(RGBA16[..., :3], 2, before=chunk(b"tRNS", key)))
    assert np.argwhere(read_photograph(tmp_path / "keyed16.png").alpha == 0).tolist() == [[2, 3]]
    bilevel = Image.fromarray(RGBA8[..., 0] > 99)
    bilevel.save(tmp_path / "bilevel.png")
    assert read_photograph(tmp_path / "bilevel.png").grey
    np.testing.assert_array_equal(
        read_rgb8(tmp_path / "bilevel.png")[..., 1], np.where(RGBA8[..., 0] > 99, 255, 0)
    )
    colour.save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read_rgb8(tmp_path / "a.bmp"), RGBA8[..., :3])
    colour.convert("L").save(tmp_path / "grey.jpg")
    assert read_photograph(tmp_path / "grey.jpg").grey
    colour.save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("RGB", colour.size)])
    np.testing.assert_array_equal(read_rgb8(tmp_path / "a.tif"), RGBA8[..., :3])


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@pytest.mark.parametrize(
    "profile",
    [None, b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()],
)
def test_cmyk_becomes_rgb_even_with_an_unfit_profile(
    tmp_path: Path, suffix: str, profile: bytes | None
) -> None:
    path = tmp_path / f"a.{suffix}"
    image = Image.new("CMYK", (16, 8), (0, 255, 255, 0))
    image.save(path, icc_profile=profile)
    photograph = read_photograph(path)
    assert photograph.icc is None and not photograph.grey
    assert np.abs(photograph.pixels - [1, 0, 0]).max() < 0.02


def test_a_fit_cmyk_profile_decides_the_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(
        tmp_path / "a.tif", icc_profile=cmyk_profile(200)
    )
    Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(
        tmp_path / "b.tif", icc_profile=cmyk_profile(80)
    )
    light, dark = (read_photograph(tmp_path / name).pixels.mean() for name in ("a.tif", "b.tif"))
    assert light - dark > 0.3


def cmyk_profile(lightness: int) -> bytes:
    """Return a CMYK profile that gives every ink mixture the same Lab lightness, 0 to 255."""
    curves = bytes(range(256))
    grid = bytes([lightness, 128, 128]) * 2**4
    matrix = struct.pack(">9i", *[65536 if i % 4 == 0 else 0 for i in range(9)])
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + curves * 4 + grid + curves * 3
    text = b"text" + bytes(4) + b"-\0\0\0"
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"A2B0", table), (b"cprt", text), (b"wtpt", white)]
    offset, directory, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags:
        data += bytes(-len(data) % 4)
        directory += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s", offset + len(body), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + directory + body
