"""Metadata of image files: EXIF, XMP and resolution, without what describes the stored pixels.

The decoded picture is upright, so the orientation is removed from EXIF and XMP.
"""

import os
import re
import struct
from typing import Any, BinaryIO

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
        if tag == _Tag.Orientation or (tiff and tag not in _DESCRIPTIVE):
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
    return re.sub(
        rb'\s*tiff:Orientation="[^"]*"|<tiff:Orientation>[^<]*</tiff:Orientation>', b"", packet
    )


def dpi_of(dpi: Any) -> tuple[float, float] | None:
    """Return a pair of pixels per inch as numbers; None if they are no plausible resolution."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def has_trailing_orientation(file: BinaryIO) -> bool:
    """Return whether a PNG file has EXIF or XMP data behind its pixels.

    Pillow then knows the orientation only after it has decoded the pixels. The headers of the
    chunks are enough to find out.

    Args:
        file: The PNG file; its position is moved.
    """
    file.seek(8)  # skips the signature
    behind_pixels = False
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        behind_pixels |= kind == b"IDAT"
        start = file.read(min(length, 24)) if kind in (b"tEXt", b"zTXt", b"iTXt") else b""
        is_metadata = kind == b"eXIf" or start.startswith(
            (b"Raw profile type exif", b"XML:com.adobe.xmp")
        )
        if behind_pixels and is_metadata:
            return True
        file.seek(length - len(start) + 4, os.SEEK_CUR)  # 4 bytes of CRC follow the data
    return False
