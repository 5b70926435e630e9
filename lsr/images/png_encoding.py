"""Writing PNG files block by block, in blocks of rows that are compressed in threads.

Format: PNG specification, ISO/IEC 15948.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from lsr.images.photograph import PictureStream
from lsr.images.threads import map_ahead

_METRES_PER_INCH = 0.0254
_AVERAGE_FILTER = 3
"""The number of PNG's filter that predicts a sample by the mean of its left and upper neighbour."""

_STRATEGY = zlib.Z_RLE
"""Deflate looks for runs only. That takes half the time of a search for repetitions, of which
photographs have hardly any: their files grow by 4 % at most. Files of drawings and text grow more.
"""


class _Block(NamedTuple):
    """Samples (r, W, channels) of some rows, and the row (1, W, channels) above them, if any."""

    samples: np.ndarray
    above: np.ndarray | None


def write_png_stream(file: BinaryIO, picture: PictureStream) -> None:
    """Write a picture as a PNG file."""
    file.write(b"\x89PNG\r\n\x1a\n")
    for kind, data in _chunks(picture):
        crc = zlib.crc32(data, zlib.crc32(kind))
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc))


def _chunks(picture: PictureStream) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the data of each chunk."""
    like = picture.like
    colour_type = (0 if like.grey else 2) + (0 if like.alpha is None else 4)
    size = struct.pack(">II", picture.width, picture.height)
    yield b"IHDR", size + bytes([like.bits, colour_type, 0, 0, 0])
    yield from like.png
    if like.icc is not None:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(like.icc)
    if like.dpi is not None:
        per_metre = (round(dpi / _METRES_PER_INCH) for dpi in like.dpi)
        yield b"pHYs", struct.pack(">IIB", *per_metre, 1)
    if like.exif is not None:
        yield b"eXIf", like.exif
    if like.xmp is not None:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + like.xmp
    for data in _zlib_stream(picture):
        yield b"IDAT", data
    yield b"IEND", b""


def _zlib_stream(picture: PictureStream) -> Iterator[bytes]:
    """Yield the parts of a zlib stream (RFC 1950) that holds all filtered rows.

    Every block is compressed on its own and ends at a whole byte, so the parts simply follow each
    other.
    """
    checksum = zlib.adler32(b"")
    yield b"\x78\x5e"
    for filtered, deflated in map_ahead(_deflated, _blocks(picture)):
        checksum = zlib.adler32(filtered, checksum)
        yield deflated
    yield b"\x03\x00" + struct.pack(">I", checksum)  # 03 00 is an empty last block of deflate


def _blocks(picture: PictureStream) -> Iterator[_Block]:
    above: np.ndarray | None = None
    for samples in picture.levels():
        yield _Block(samples, above)
        above = samples[-1:].copy()


def _deflated(block: _Block) -> tuple[bytes, bytes]:
    """Return the filtered rows of a block, and the same compressed."""
    filtered = _filtered(block).tobytes()
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS, strategy=_STRATEGY)
    return filtered, compressor.compress(filtered) + compressor.flush(zlib.Z_SYNC_FLUSH)


def _filtered(block: _Block) -> np.ndarray:
    """Return rows (r, 1 + bytes per row) uint8 that are ready to be compressed.

    Each row begins with the number of its filter. Of PNG's five filters the average of left and
    upper neighbour compresses photographs best.
    """
    height, _, channels = block.samples.shape
    rows = _bytes_of(block.samples)
    pixel_bytes = channels * block.samples.itemsize
    left = np.zeros_like(rows)
    left[:, pixel_bytes:] = rows[:, :-pixel_bytes]
    up = np.zeros_like(rows)
    up[1:] = rows[:-1]
    if block.above is not None:
        up[:1] = _bytes_of(block.above)
    # (left + up) // 2 without the overflow of 8 bits (Warren, Hacker's Delight, section 2-5).
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _AVERAGE_FILTER
    np.subtract(rows, (left & up) + ((left ^ up) >> 1), out=filtered[:, 1:])
    return filtered


def _bytes_of(samples: np.ndarray) -> np.ndarray:
    """Return samples (r, W, channels) as rows of bytes, the high byte of 16 bits first."""
    big_endian = samples.astype(samples.dtype.newbyteorder(">"), copy=False)
    return np.ascontiguousarray(big_endian).reshape(len(samples), -1).view(np.uint8)
