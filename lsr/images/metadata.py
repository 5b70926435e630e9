"""What image files say about their pictures: EXIF, XMP and resolution, without what the decoded pixels no longer need."""

import os
import re
import struct
from typing import Any, BinaryIO

from PIL import ExifTags, Image, ImageFile

_Tag = ExifTags.Base
# A TIFF keeps the layout of its own pixels among its EXIF tags; only these describe the picture.
_DESCRIPTIVE = {
    _Tag[name]
    for name in """ImageDescription Make Model Software DateTime Artist HostComputer Copyright XResolution YResolution ResolutionUnit
    Rating XPTitle XPComment XPAuthor XPKeywords XPSubject ExifOffset GPSInfo""".split()
}


def exif_of(image: ImageFile.ImageFile) -> Image.Exif:
    """Return what the part of the file read so far says; a damaged block says nothing."""
    try:
        return Image.Image.getexif(image)  # the PNG class's own method would decode the picture
    except Exception:
        return Image.Exif()


def exif_bytes(exif: Image.Exif, tiff: bool) -> bytes | None:
    """Return an EXIF block from its TIFF header on, without orientation and without the layout of a TIFF's pixels."""
    for tag in list(exif):
        if tag == _Tag.Orientation or (tiff and tag not in _DESCRIPTIVE):
            del exif[tag]
    try:
        for ifd in (_Tag.ExifOffset, _Tag.GPSInfo):
            exif.get_ifd(ifd)
        exif.bigtiff = False  # an EXIF block has 32-bit offsets, whatever the file that it was in
        return exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else None
    except Exception:  # values that Pillow reads but cannot write occur in damaged EXIF only
        return None


def xmp_bytes(packet: Any) -> bytes | None:
    """Return an XMP packet without the orientation, which has been applied."""
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes) or not packet:
        return None
    return re.sub(
        rb'\s*tiff:Orientation="[^"]*"|<tiff:Orientation>[^<]*</tiff:Orientation>', b"", packet
    )


def dpi_of(dpi: Any) -> tuple[float, float] | None:
    """Return what a file says of its pixels per inch if it makes sense."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def has_trailing_orientation(file: BinaryIO) -> bool:
    """Tell whether a PNG carries EXIF or XMP behind its pixels, found by its chunks' headers alone."""
    file.seek(8)
    behind_pixels = False
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        behind_pixels |= kind == b"IDAT"
        start = file.read(min(length, 24)) if kind in (b"tEXt", b"zTXt", b"iTXt") else b""
        if behind_pixels and (
            kind == b"eXIf" or start.startswith((b"Raw profile type exif", b"XML:com.adobe.xmp"))
        ):
            return True
        file.seek(length - len(start) + 4, os.SEEK_CUR)
    return False
