"""TIFF files that Pillow misreads: refusing them, or decoding floating-point ones with OpenCV."""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import OPEN_INFO, TiffImageFile

from lsr.images.opening import EncodedImage, TooManyPixels, UnreadableImage, pixel_limit

_Tag = ExifTags.Base

_FLOATING_POINT = 3
"""The value of the tag SampleFormat for IEEE floating-point samples (TIFF 6.0, section 19)."""

_OPENCV_READS = {
    _Tag.PlanarConfiguration: (1,),
    _Tag.Orientation: (1,),
    _Tag.ExtraSamples: (0, 2),
    _Tag.PhotometricInterpretation: (1, 2),
}
"""Values of tags with which OpenCV decodes a floating-point TIFF correctly.

OpenCV scrambles colour planes, and mirrors or refuses rotated pictures whatever its flags are.
"""


for _order, _rawmode in ((b"II", "LA;16L"), (b"MM", "LA;16B")):
    # Grey and alpha of 16 bits: Pillow knows no such TIFF, nor this layout, so that it stays as
    # unreadable as before for other programs. Four bytes per pixel are read as if they were RGBA.
    OPEN_INFO.setdefault((_order, 1, (1,), 1, (16, 16), (2,)), ("RGBA", _rawmode))


def check_tiff(source: Path | EncodedImage, file: BinaryIO, image: TiffImageFile) -> None:
    """Raise `UnreadableImage` for a TIFF that Pillow would misread, or whose pixels are truncated.

    Truncation is checked here because libtiff would print its own message to stderr.

    Args:
        source: The image file, for error messages.
        file: The same file, open.
        image: The same file as Pillow opened it, not yet decoded.
    """
    tags = image.tag_v2
    bits = tags.get(_Tag.BitsPerSample, (1,))
    separate_planes = tags.get(_Tag.PlanarConfiguration) == 2 and len(bits) > 1
    if max(bits) > 8 and (separate_planes or max(bits) != 16):
        raise UnreadableImage(
            f"{source}: a TIFF of {max(bits)} bits per sample in this layout is not supported; "
            "save it as PNG"
        )
    size = file.seek(0, os.SEEK_END)
    for offsets, counts in (
        (_Tag.StripOffsets, _Tag.StripByteCounts),
        (_Tag.TileOffsets, _Tag.TileByteCounts),
    ):
        pieces = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        if any(start + count > size for start, count in pieces):
            raise UnreadableImage(f"{source}: damaged or truncated (the pixels end after the file)")


def float_tiff_header(file: BinaryIO) -> Image.Exif | None:
    """Return the tags of a TIFF with floating-point samples, or None for any other file.

    Args:
        file: The image file at its beginning, where it is left.
    """
    magic = file.read(4)
    file.seek(0)
    if magic not in (b"II*\0", b"MM\0*"):
        return None
    header = Image.Exif()
    header.load_from_fp(file)
    file.seek(0)
    is_float = np.all(np.equal(header.get(_Tag.SampleFormat, 1), _FLOATING_POINT))
    return header if is_float else None


def decode_float_tiff(
    source: Path | EncodedImage, file: BinaryIO, header: Image.Exif
) -> np.ndarray:
    """Decode a TIFF with floating-point samples.

    Args:
        source: The image file, for error messages.
        file: The same file, open at its beginning.
        header: Tags of the file, from `float_tiff_header`.

    Returns:
        (H, W, C) float32 in [0, 1]; C is 1 grey, 3 RGB or 4 RGB + alpha.

    Raises:
        UnreadableImage: The file is damaged, has too many pixels, a layout that OpenCV misreads, or
            samples outside [0, 1].
    """
    import cv2

    if header[_Tag.ImageWidth] * header[_Tag.ImageLength] > pixel_limit():
        raise TooManyPixels(source, pixel_limit())
    if any(tag in header and header[tag] not in values for tag, values in _OPENCV_READS.items()):
        raise UnreadableImage(
            f"{source}: a floating-point TIFF with separate colour planes, rotation, premultiplied "
            "alpha or colours other than RGB is not supported; save it as 16-bit PNG"
        )
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        samples = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if samples is None or samples.dtype not in (np.float32, np.float64):
        raise UnreadableImage(f"{source}: a damaged or unsupported floating-point TIFF")
    if not (samples.min() >= 0 and samples.max() <= 1):  # false for NaN as well
        raise UnreadableImage(
            f"{source}: floating-point samples are not all from 0 to 1; scale them"
        )
    samples = samples.astype(np.float32).reshape(*samples.shape[:2], -1)
    if samples.shape[2] == 1:
        return samples
    rgba_from_bgra = [2, 1, 0, 3]  # OpenCV returns blue first
    return samples[..., rgba_from_bgra[: samples.shape[2]]]
