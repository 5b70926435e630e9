"""Metadata of image files: EXIF, XMP and resolution, true for the picture that they are copied to.

The decoded picture is upright, so the orientation is removed from EXIF and XMP. A copy of another
size gets its own size in the fields that tell one.
"""

import re
from typing import Any

from PIL import ExifTags, Image, ImageFile

_Tag = ExifTags.Base

# A TIFF file keeps the layout of its pixels in the same tags as the EXIF data. Only these tags
# describe the picture itself.
_DESCRIPTIVE = {
    _Tag[name]
    for name in """ImageDescription Make Model Software DateTime Artist HostComputer Copyright
    XResolution YResolution ResolutionUnit Rating XPTitle XPComment XPAuthor XPKeywords XPSubject
    ExifOffset GPSInfo""".split()
}


_OF_STORED_PIXELS = (_Tag.Orientation, _Tag.ImageWidth, _Tag.ImageLength)
"""Tags of the main directory that are only about the pixels of the file."""

_SIZES = (_Tag.ExifImageWidth, _Tag.ExifImageHeight)
"""Tags of the EXIF directory with the width and the height of the picture."""

_XMP_SIZES = (
    rb"(?:exif:PixelXDimension|tiff:ImageWidth)",
    rb"(?:exif:PixelYDimension|tiff:ImageLength)",
)
"""Names of the same in XMP."""


def exif_of(image: ImageFile.ImageFile) -> Image.Exif:
    """Return the EXIF data in the part of the file that was read so far; empty if damaged."""
    try:
        return Image.Image.getexif(image)  # the PNG class's own method would decode the picture
    except Exception:
        return Image.Exif()


def exif_bytes(exif: Image.Exif, tiff: bool) -> bytes | None:
    """Return the EXIF block to keep, from its TIFF header on; None if it is empty or damaged.

    Args:
        exif: EXIF data of the file; the tags that are not kept are removed from it.
        tiff: Whether the file is a TIFF. Then the tags of the layout of its pixels are removed.
    """
    for tag in list(exif):
        if tag in _OF_STORED_PIXELS or (tiff and tag not in _DESCRIPTIVE):
            del exif[tag]
    try:
        for ifd in (_Tag.ExifOffset, _Tag.GPSInfo):
            exif.get_ifd(ifd)
        exif.bigtiff = False  # an EXIF block has 32-bit offsets even if its file is a BigTIFF
        return exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else None
    except Exception:  # only damaged EXIF holds values that Pillow reads but cannot write
        return None


def xmp_bytes(packet: Any) -> bytes | None:
    """Return an XMP packet without the orientation; None if there is no packet."""
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes) or not packet:
        return None
    attribute = rb"""\s*tiff:Orientation=("[^"]*"|'[^']*')"""
    element = rb"<tiff:Orientation>[^<]*</tiff:Orientation>"
    return re.sub(attribute + rb"|" + element, b"", packet)


def exif_with_size(block: bytes | None, width: int, height: int) -> bytes | None:
    """Return an EXIF block whose fields of the picture's size, if it has them, tell this size.

    A block that Pillow cannot write is returned as it is.
    """
    if block is None:
        return None
    exif = Image.Exif()
    try:
        exif.load(block)
        directory = exif.get_ifd(_Tag.ExifOffset)
        if not any(tag in directory for tag in _SIZES):
            return block
        directory |= {
            tag: side for tag, side in zip(_SIZES, (width, height), strict=True) if tag in directory
        }
        exif.get_ifd(_Tag.GPSInfo)  # is written if it has been read
        return exif.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # see `exif_bytes`
        return block


def xmp_with_size(packet: bytes | None, width: int, height: int) -> bytes | None:
    """Return an XMP packet whose fields of the picture's size, if it has them, tell this size."""
    if packet is None:
        return None
    for names, side in zip(_XMP_SIZES, (width, height), strict=True):
        field = rb"(" + names + rb"""(?:=["']|>))[^"'<]*"""
        packet = re.sub(field, lambda found, side=side: found[1] + str(side).encode(), packet)
    return packet


def dpi_of(dpi: Any) -> tuple[float, float] | None:
    """Return a pair of pixels per inch as numbers; None if they are no plausible resolution."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None
