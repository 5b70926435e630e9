"""Image files made byte by byte, for the tests of reading and writing."""

import struct
import zlib

import numpy as np
from PIL import Image

from lsr.images import Photograph

RNG = np.random.default_rng(20)
RGBA8 = RNG.integers(0, 256, (17, 23, 4), dtype=np.uint8)
RGBA16 = RNG.integers(0, 65536, (17, 23, 4), dtype=np.uint16)

COLOUR_TYPES = {
    "grey": (0, [0]),
    "grey_alpha": (4, [0, 3]),
    "rgb": (2, [0, 1, 2]),
    "rgba": (6, [0, 1, 2, 3]),
}
"""Colour type of PNG, and the channels of RGBA, of each layout."""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    samples: np.ndarray,
    colour_type: int,
    before: bytes = b"",
    behind: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    depth = samples.itemsize * 8
    adam7 = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in (adam7 if interlaced else [(0, 0, 1, 1)])]
    rows = b"".join(
        b"\0" + row.astype(f">u{samples.itemsize}").tobytes()
        for part in passes
        for row in part
        if row.size
    )
    header = struct.pack(
        ">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour_type, 0, 0, int(interlaced)
    )
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + pixels
        + behind
        + chunk(b"IEND", b"")
    )


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x927C: b"maker note"}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return exif.tobytes().removeprefix(b"Exif\0\0")


def levels(photograph: Photograph) -> np.ndarray:
    """Return the (H, W, 4) integer samples of a photograph; opaque where it has no alpha."""
    alpha = (
        np.ones(photograph.pixels.shape[:2], np.float32)
        if photograph.alpha is None
        else photograph.alpha
    )
    scaled = np.dstack([photograph.pixels, alpha]).astype(np.float64) * (2**photograph.bits - 1)
    assert np.abs(scaled - scaled.round()).max() < 0.01
    return scaled.round().astype(int)


def expected(samples: np.ndarray, channels: list[int]) -> np.ndarray:
    """Return what `levels` gives for a file of some channels of RGBA samples."""
    colour = samples[..., [0, 0, 0]] if 1 not in channels else samples[..., :3]
    alpha = (
        samples[..., 3]
        if 3 in channels
        else np.full(samples.shape[:2], np.iinfo(samples.dtype).max)
    )
    return np.dstack([colour, alpha]).astype(int)


def exif_tags(block: bytes | None) -> tuple[dict, dict, dict]:
    """Return the tags of an EXIF block: those of its main, its EXIF and its GPS directory."""
    assert block is not None
    exif = Image.Exif()
    exif.load(block)
    return (
        {k: v for k, v in exif.items() if k not in (0x8769, 0x8825)},
        exif.get_ifd(0x8769),
        exif.get_ifd(0x8825),
    )
