"""Image files written row by row where the format allows it: PNG and TIFF here, JPEG and WebP from 8-bit pixels by Pillow.

A file appears under its name complete or not at all.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from lsr.files import atomic_path
from lsr.images.photograph import Photograph, PictureStream

_TIFF_STRIP_ROWS = 64
_CLASSIC_LIMIT = 2**32 - 2**26
"""Bytes of samples above which a TIFF needs 64-bit offsets: 4 GiB less what deflate may add."""

_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005


class UnfitFormat(ValueError):  # noqa: N818
    """A picture that a format cannot hold; the message is one line without the name of the picture."""


def write_png(path: Path, photograph: Photograph) -> None:
    """Write a PNG of `photograph.bits` per sample, with its alpha and metadata.

    A grey photograph is written as one channel, the mean of its three. Samples are clipped to [0, 1] and rounded to the
    nearest level. The file appears under its name complete or not at all.

    Raises:
        OSError: The file cannot be written; nothing is left behind and an existing file stays.
    """
    write_stream(path, PictureStream.of(photograph), "png")


def write_stream(path: Path, picture: PictureStream, kind: str, quality: int = 95) -> None:
    """Write a picture while it is being made.

    Memory beside the blocks: none for PNG and TIFF, the picture in 8 bits for JPEG and WebP.

    Args:
        path: The file.
        picture: The picture; is used up.
        kind: "png", "jpeg", "webp" or "tiff".
        quality: Of JPEG and WebP, 1 to 100; WebP is lossless at 100, PNG and TIFF always are.

    Raises:
        UnfitFormat: The format cannot hold such a picture; nothing of it has been made yet.
        OSError: The file cannot be written; nothing is left behind and an existing file stays.
    """
    check_fits(picture.like, picture.height, picture.width, kind)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        _WRITERS[kind](file, picture, quality)


def check_fits(like: Photograph, height: int, width: int, kind: str) -> None:
    """See that a format can hold a picture.

    Raises:
        UnfitFormat: It cannot.
    """
    limit = {"jpeg": 65535, "webp": 16383}.get(kind, 2**31 - 1)
    if max(height, width) > limit:
        raise UnfitFormat(
            f"{width}x{height} pixels are too many for {kind.upper()}, whose sides end at {limit}: choose png or tiff"
        )
    if kind == "jpeg" and like.alpha is not None:
        raise UnfitFormat("JPEG holds no transparency: choose png, webp or tiff")


def _write_png(file: BinaryIO, picture: PictureStream, quality: int) -> None:
    file.write(b"\x89PNG\r\n\x1a\n")
    for kind, data in _png_chunks(picture):
        file.write(
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        )


def _png_chunks(picture: PictureStream) -> Iterator[tuple[bytes, bytes]]:
    """Yield the (type, data) of each chunk, as laid down in the PNG specification (ISO/IEC 15948)."""
    like = picture.like
    colour_type = (0 if like.grey else 2) + (0 if like.alpha is None else 4)
    yield (
        b"IHDR",
        struct.pack(">IIBBBBB", picture.width, picture.height, like.bits, colour_type, 0, 0, 0),
    )
    if like.icc is not None:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(like.icc)
    if like.dpi is not None:
        yield b"pHYs", struct.pack(">IIB", *(round(dpi / 0.0254) for dpi in like.dpi), 1)
    if like.exif is not None:
        yield b"eXIf", like.exif
    if like.xmp is not None:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + like.xmp
    compressor = zlib.compressobj(4)
    above: np.ndarray | None = None
    for samples in picture.levels():
        samples = samples.astype(samples.dtype.newbyteorder(">"))
        pixel_bytes = samples.shape[2] * samples.itemsize
        rows = samples.reshape(len(samples), -1).view(np.uint8)
        left, up = np.zeros_like(rows), np.zeros_like(rows)
        left[:, pixel_bytes:] = rows[:, :-pixel_bytes]
        up[1:] = rows[:-1]
        if above is not None:
            up[0] = above
        above = rows[-1].copy()
        # Of the five filters the average of left and above compresses photographs best; 3 is its number.
        filtered = rows - ((left.astype(np.uint16) + up) // 2).astype(np.uint8)
        compressed = compressor.compress(np.insert(filtered, 0, 3, axis=1).tobytes())
        if compressed:
            yield b"IDAT", compressed
    yield b"IDAT", compressor.flush()
    yield b"IEND", b""


def _write_tiff(file: BinaryIO, picture: PictureStream, quality: int) -> None:
    """Write deflated strips with horizontal differencing (TIFF 6.0; deflate and BigTIFF as in Adobe's and libtiff's supplements)."""
    big = (
        picture.height * picture.width * picture.channels * picture.like.bits // 8 > _CLASSIC_LIMIT
    )
    header = (
        b"II\x2b\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II\x2a\0" + struct.pack("<I", 8)
    )
    strips = -(-picture.height // _TIFF_STRIP_ROWS)
    # The directory's length depends on the number of strips alone: it is written once the strips' own lengths are known.
    room = len(_tiff_directory(picture, header, [1] * strips))
    file.write(header + bytes(room))
    lengths = []
    for strip in _regrouped(picture.levels(), _TIFF_STRIP_ROWS):
        differences = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
        lengths.append(
            file.write(
                zlib.compress(differences.astype(strip.dtype.newbyteorder("<")).tobytes(), 6)
            )
        )
    file.seek(len(header))
    directory = _tiff_directory(picture, header, lengths)
    assert len(directory) == room
    file.write(directory)


def _tiff_directory(picture: PictureStream, header: bytes, lengths: list[int]) -> bytes:
    """Return the directory that follows the header; the strips come next, without gaps."""
    like = picture.like
    tags = TiffImagePlugin.ImageFileDirectory_v2(header)
    for tag, value in _exif_tags(like.exif).items():
        tags[tag] = value
    if like.dpi is not None:
        tags[282], tags[283], tags[296] = *like.dpi, 2
    layout = {
        256: picture.width,
        257: picture.height,
        258: (like.bits,) * picture.channels,
        259: 8,
        262: 1 if like.grey else 2,
    }
    layout |= {277: picture.channels, 278: _TIFF_STRIP_ROWS, 284: 1, 317: 2}
    if like.alpha is not None:
        layout[338] = 2
    for tag, value in layout.items():
        tags[tag] = value
    long = 16 if len(header) == 16 else 4
    starts = np.cumsum([0, *lengths[:-1]]).tolist()
    for tag, values in ((273, starts), (279, lengths)):
        tags.tagtype[tag] = long
        tags[tag] = tuple(values)
    for tag, kind, value in ((34675, 7, like.icc), (700, 1, like.xmp)):
        if value is not None:
            tags.tagtype[tag] = kind
            tags[tag] = value
    return tags.tobytes(len(header))


def _exif_tags(block: bytes | None) -> dict[int, Any]:
    """Return what an EXIF block says as tags of a TIFF; nothing if it holds what Pillow reads but cannot write."""
    if block is None:
        return {}
    try:
        exif = Image.Exif()
        exif.load(block)
        found = dict(exif.items())
        for ifd in found.keys() & {_EXIF_IFD, _GPS_IFD}:
            found[ifd] = {
                tag: value
                for tag, value in exif.get_ifd(ifd).items()
                if tag != _INTEROPERABILITY_IFD
            }
        trial = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in found.items():
            trial[tag] = value
        trial.tobytes(8)
        return found
    except (
        Exception
    ):  # struct.error, TypeError, KeyError... by kind of damage; metadata must not cost the picture
        return {}


def _regrouped(blocks: Iterator[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Yield the rows of blocks in blocks of `rows`, the last of what is left."""
    rest: np.ndarray | None = None
    for block in blocks:
        rest = block if rest is None else np.concatenate([rest, block])
        whole = len(rest) // rows * rows
        for top in range(0, whole, rows):
            yield rest[top : top + rows]
        rest = rest[whole:]
    if rest is not None and len(rest):
        yield rest


def _pillow_image(picture: PictureStream) -> Image.Image:
    eight = replace(picture, like=replace(picture.like, bits=8))
    canvas = np.empty((picture.height, picture.width, picture.channels), np.uint8)
    top = 0
    for block in eight.levels():
        canvas[top : top + len(block)] = block
        top += len(block)
    return Image.fromarray(canvas[..., 0] if picture.channels == 1 else canvas)


def _write_jpeg(file: BinaryIO, picture: PictureStream, quality: int) -> None:
    like = picture.like
    # 4:4:4: halving the colours' resolution would undo some of the work.
    options = {
        "quality": quality,
        "subsampling": 0,
        "icc_profile": like.icc,
        "dpi": like.dpi,
        "exif": _with_marker(like),
        "xmp": like.xmp,
    }
    _pillow_image(picture).save(
        file, "JPEG", **{name: value for name, value in options.items() if value is not None}
    )


def _write_webp(file: BinaryIO, picture: PictureStream, quality: int) -> None:
    like = picture.like
    options = {"icc_profile": like.icc, "exif": _with_marker(like), "xmp": like.xmp}
    kept = {name: value for name, value in options.items() if value is not None}
    _pillow_image(picture).save(
        file, "WEBP", quality=quality, lossless=quality == 100, exact=True, **kept
    )


def _with_marker(like: Photograph) -> bytes | None:
    return None if like.exif is None else b"Exif\0\0" + like.exif


_WRITERS: dict[str, Callable[[BinaryIO, PictureStream, int], None]] = {
    "png": _write_png,
    "jpeg": _write_jpeg,
    "webp": _write_webp,
    "tiff": _write_tiff,
}
