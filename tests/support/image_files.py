"""Image files made byte by byte, for the tests of reading and writing."""

import struct
import zlib

import numpy as np
from PIL import Image

RNG = np.random.default_rng(20)
RGBA8 = RNG.integers(0, 256, (17, 23, 4), dtype=np.uint8)
RGBA16 = RNG.integers(0, 65536, (17, 23, 4), dtype=np.uint16)


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
