"""Writing TIFF files strip by strip, in strips that deflate compresses.

Format: TIFF 6.0; deflate as in Adobe's supplement to it, 64-bit offsets (BigTIFF) as in libtiff.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from lsr.images.photograph import PictureStream
from lsr.images.threads import map_ahead

_STRIP_ROWS = 64
_CLASSIC_LIMIT = 2**32 - 2**26
"""Bytes of samples above which a TIFF needs 64-bit offsets: 4 GiB less what deflate may add."""

_Tag = ExifTags.Base

# Values of tags and numbers of types in TIFF 6.0.
_DEFLATE = 8
_HORIZONTAL_DIFFERENCING = 2
_INTERLEAVED = 1
_BLACK_IS_ZERO, _RGB = 1, 2
_UNASSOCIATED_ALPHA = 2
_PER_INCH = 2
_BYTE, _LONG, _UNDEFINED, _LONG8 = 1, 4, 7, 16


def write_tiff(file: BinaryIO, picture: PictureStream) -> None:
    """Write a picture as a TIFF file: header, directory of tags, strips.

    The directory is filled in last, so `file` must be seekable.
    """
    sample_bytes = picture.height * picture.width * picture.channels * picture.like.bits // 8
    if sample_bytes > _CLASSIC_LIMIT:
        header = b"II\x2b\0\x08\0\0\0" + struct.pack("<Q", 16)
    else:
        header = b"II\x2a\0" + struct.pack("<I", 8)
    strips = -(-picture.height // _STRIP_ROWS)
    # The size of the directory depends on the number of strips alone, so its place is left free
    # until the compressed length of every strip is known.
    room = len(_directory(picture, header, [1] * strips))
    file.write(header + bytes(room))
    blocks = _in_blocks_of(_STRIP_ROWS, picture.levels())
    lengths = [file.write(strip) for strip in map_ahead(_deflated, blocks)]
    file.seek(len(header))
    directory = _directory(picture, header, lengths)
    assert len(directory) == room
    file.write(directory)


def _deflated(strip: np.ndarray) -> bytes:
    """Return a strip (r, W, channels) as differences of horizontal neighbours, compressed."""
    differences = np.concatenate([strip[:, :1], strip[:, 1:] - strip[:, :-1]], axis=1)
    return zlib.compress(differences.astype(strip.dtype.newbyteorder("<")).tobytes(), 6)


def _directory(picture: PictureStream, header: bytes, lengths: list[int]) -> bytes:
    """Return the directory of tags, which follows the header and precedes the strips.

    Args:
        picture: The picture.
        header: The header of the file, 8 bytes, or 16 bytes for 64-bit offsets.
        lengths: Bytes of each strip.
    """
    like = picture.like
    tags = TiffImagePlugin.ImageFileDirectory_v2(header)
    for tag, value in _exif_tags(like.exif).items():
        tags[tag] = value
    if like.dpi is not None:
        tags[_Tag.XResolution], tags[_Tag.YResolution] = like.dpi
        tags[_Tag.ResolutionUnit] = _PER_INCH
    for tag, value in _layout(picture).items():
        tags[tag] = value
    # Pillow counts the offsets from the end of the directory, where the first strip begins.
    starts = np.cumsum([0, *lengths[:-1]]).tolist()
    for tag, values in ((_Tag.StripOffsets, starts), (_Tag.StripByteCounts, lengths)):
        tags.tagtype[tag] = _LONG8 if len(header) == 16 else _LONG
        tags[tag] = tuple(values)
    for tag, kind, value in (
        (_Tag.InterColorProfile, _UNDEFINED, like.icc),
        (_Tag.XMLPacket, _BYTE, like.xmp),
    ):
        if value is not None:
            tags.tagtype[tag] = kind
            tags[tag] = value
    return tags.tobytes(len(header))


def _layout(picture: PictureStream) -> dict[int, Any]:
    """Return the tags that describe how the samples of a picture are stored."""
    like = picture.like
    layout: dict[int, Any] = {
        _Tag.ImageWidth: picture.width,
        _Tag.ImageLength: picture.height,
        _Tag.BitsPerSample: (like.bits,) * picture.channels,
        _Tag.Compression: _DEFLATE,
        _Tag.PhotometricInterpretation: _BLACK_IS_ZERO if like.grey else _RGB,
        _Tag.SamplesPerPixel: picture.channels,
        _Tag.RowsPerStrip: _STRIP_ROWS,
        _Tag.PlanarConfiguration: _INTERLEAVED,
        _Tag.Predictor: _HORIZONTAL_DIFFERENCING,
    }
    if like.alpha is not None:
        layout[_Tag.ExtraSamples] = _UNASSOCIATED_ALPHA
    return layout


def _exif_tags(block: bytes | None) -> dict[int, Any]:
    """Return an EXIF block as tags of a TIFF; empty if Pillow cannot write some of its values."""
    if block is None:
        return {}
    try:
        exif = Image.Exif()
        exif.load(block)
        found = dict(exif.items())
        for ifd in found.keys() & {int(_Tag.ExifOffset), int(_Tag.GPSInfo)}:
            found[ifd] = {
                tag: value
                for tag, value in exif.get_ifd(ifd).items()
                if tag != ExifTags.IFD.Interop
            }
        trial = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in found.items():
            trial[tag] = value
        trial.tobytes(8)
        return found
    except Exception:
        # struct.error, TypeError, KeyError and others, depending on the damage. A picture must be
        # written even if its metadata cannot be.
        return {}


def _in_blocks_of(rows: int, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of blocks of any height in blocks of `rows` rows; the last may be shorter."""
    rest: np.ndarray | None = None
    for block in blocks:
        rest = block if rest is None else np.concatenate([rest, block])
        whole = len(rest) // rows * rows
        for top in range(0, whole, rows):
            yield rest[top : top + rows]
        rest = rest[whole:]
    if rest is not None and len(rest):
        yield rest
