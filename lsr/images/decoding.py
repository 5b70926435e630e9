"""Decoding image files with Pillow without rounding 16-bit samples to 8 bits.

Pillow offers 16-bit colour only as its high bytes, so such files are decoded a second time for the
low bytes. Whatever is wrong with a file becomes one `UnreadableImage` line, and Pillow's and
OpenCV's warnings are silenced; only libtiff's own message about damaged compressed data still
reaches stderr.
"""

import io
import sys
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from lsr.images.formats import FORMATS
from lsr.images.free_memory import check_memory
from lsr.images.metadata import dpi_of, exif_bytes, exif_of, xmp_bytes
from lsr.images.opening import EncodedImage, UnreadableImage, open_image_file
from lsr.images.png_chunks import Chunks, has_trailing_orientation, kept_chunks
from lsr.images.tiff_decoding import check_tiff, decode_float_tiff, float_tiff_header

_ANIMATED = ("PNG", "WEBP", "GIF", "AVIF")
"""Formats whose further frames are an animation. Those of TIFF are pages; those of JPEG belong to
the first one."""

_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "YCbCr", "CMYK")

_Tag = ExifTags.Base

_ORIENTATIONS_THAT_SWAP_SIDES = (5, 6, 7, 8)

_WHITE_IS_ZERO = 0
"""The value of the TIFF tag PhotometricInterpretation for grey whose samples are inverted."""

_OPPOSITE_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
"""For each of Pillow's letters for a byte order (little, big, native) the opposite byte order.

Pillow keeps the high byte of a 16-bit sample; with the opposite order it keeps the low byte.
"""


class Decoded(NamedTuple):
    """Contents of an image file.

    Attributes:
        samples: (H, W, C) uint8 or uint16 over their full range, or float32 in [0, 1]. C is 1 grey,
            2 grey + alpha, 3 RGB or 4 RGB + alpha; the alpha is not multiplied into the colour.
        icc: ICC colour profile of the samples.
        exif: EXIF block from its TIFF header on, without the orientation.
        xmp: XMP packet, without the orientation.
        dpi: Pixels per inch, horizontally and vertically.
        png: Chunks of a PNG file that a copy in PNG keeps.
        left_out: What of the file is in none of these fields, in words.
    """

    samples: np.ndarray
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None
    png: Chunks = ()
    left_out: tuple[str, ...] = ()


def probe(source: Path | EncodedImage) -> tuple[int, int]:
    """Return (width, height) of the upright picture from the file's header, without decoding it.

    Raises:
        UnreadableImage: The header cannot be read. Damage behind the header goes unnoticed.
    """
    with open_image_file(source) as file:
        header = float_tiff_header(file)
        if header is not None:
            return _size_in(header)
        image = _opened(source, file)
        if image.format == "PNG" and has_trailing_orientation(file):
            image.load()
        if isinstance(image, TiffImageFile):
            # Whether `size` is that of the upright picture depends on the version of Pillow.
            width, height = image.tag_v2[_Tag.ImageWidth], image.tag_v2[_Tag.ImageLength]
        else:
            width, height = image.size
        if exif_of(image).get(_Tag.Orientation) in _ORIENTATIONS_THAT_SWAP_SIDES:
            return height, width
        return width, height


def decode(source: Path | EncodedImage) -> Decoded:
    """Decode an image file without loss of precision, and turn it upright.

    CMYK is converted to 8-bit sRGB, with the embedded ICC profile if there is a usable one.

    Raises:
        UnreadableImage: The file is missing, damaged, truncated, of an unsupported kind, or has
            more pixels than `lsr.images.opening.pixel_limit`.
    """
    with open_image_file(source) as file:
        header = float_tiff_header(file)
        if header is not None:
            check_memory(source, *_size_in(header))
            icc = header.get(_Tag.InterColorProfile)
            xmp = header.get(_Tag.XMLPacket)
            samples = decode_float_tiff(source, file, header)
            return Decoded(samples, icc, exif_bytes(header, tiff=True), xmp_bytes(xmp), None)
        image = _opened(source, file)
        check_memory(source, *image.size)
        tiff = isinstance(image, TiffImageFile)
        if tiff:
            check_tiff(source, file, image)
        icc = None if image.mode == "CMYK" else image.info.get("icc_profile")
        has_dpi = not tiff or _Tag.XResolution in image.tag_v2  # else Pillow says 1 dpi
        samples = _decode_samples(source, file, image)
        exif = exif_of(image)
        return Decoded(
            _upright(samples, exif.get(_Tag.Orientation)),
            icc,
            exif_bytes(exif, tiff),
            xmp_bytes(image.info.get("xmp")),
            dpi_of(image.info.get("dpi")) if has_dpi else None,
            kept_chunks(file) if image.format == "PNG" else (),
            _further_pages(image) if tiff else (),
        )


def check_pixels(source: Path | EncodedImage) -> tuple[int, int]:
    """Decode an image file to find damage behind its header, and return (width, height) upright.

    A JPEG file is decoded at an eighth of its size, which still reads all of its data.

    Raises:
        UnreadableImage: For the same reasons as `decode`.
    """
    size = probe(source)
    with open_image_file(source) as file:
        image = Image.open(file, formats=FORMATS)
        if isinstance(image, JpegImageFile):
            image.draft(None, (1, 1))
            image.load()
            return size
    decode(source)
    return size


def _opened(source: Path | EncodedImage, file: BinaryIO) -> ImageFile.ImageFile:
    """Return an image that is not decoded yet; raise `UnreadableImage` for an animation."""
    image = Image.open(file, formats=FORMATS)
    if image.format in _ANIMATED and getattr(image, "is_animated", False):
        raise UnreadableImage(
            f"{source}: an animation, which is not supported: save its frames as single files"
        )
    return image


def _size_in(header: Image.Exif) -> tuple[int, int]:
    return int(header[_Tag.ImageWidth]), int(header[_Tag.ImageLength])


def _further_pages(image: TiffImageFile) -> tuple[str, ...]:
    try:
        pages = image.n_frames
    except Exception:  # a later page is damaged, which does not matter
        return ()
    return (f"{pages - 1} of {pages} pages: the first one is used",) if pages > 1 else ()


def _decode_samples(
    source: Path | EncodedImage, file: BinaryIO, image: ImageFile.ImageFile
) -> np.ndarray:
    """Return the samples as in `Decoded`, in the orientation of the file."""
    rawmode = _rawmode(image)
    if image.mode not in _EIGHT_BIT_MODES and not image.mode.startswith("I;16"):
        raise UnreadableImage(
            f"{source}: pixels of the kind {image.mode} ({rawmode}) are not supported; save it as "
            "RGB or grey with 8 or 16 bits"
        )
    if ";16" in rawmode and image.mode != "CMYK":
        return _decode_16_bit(file, image, rawmode)
    return _decode_8_bit(image)


def _rawmode(image: ImageFile.ImageFile) -> str:
    """Return Pillow's name for the layout of the samples in the file, such as `RGB;16B`.

    The name is empty for a format with a single layout.
    """
    arguments = image.tile[0].args if image.tile else None
    rawmode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return rawmode if isinstance(rawmode, str) else ""


def _decode_8_bit(image: ImageFile.ImageFile) -> np.ndarray:
    image.load()
    if image.mode == "CMYK":
        return np.asarray(_cmyk_to_rgb(image))
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    samples = np.asarray(image.convert(f"{mode}A" if image.has_transparency_data else mode))
    return samples[..., None] if samples.ndim == 2 else samples


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.buildTransform(source, srgb, "CMYK", "RGB").apply(image)
        except (ImageCms.PyCMSError, OSError):  # a broken profile, or one of another colour space
            pass
    return image.convert("RGB")


def _decode_16_bit(file: BinaryIO, image: ImageFile.ImageFile, rawmode: str) -> np.ndarray:
    """Return (H, W, C) uint16.

    Colour is decoded twice: for the high byte of each sample, then for the low byte.
    """
    layout, _, order = rawmode.replace("RGBa", "RGBA").rpartition(";16")
    if layout == "LA":  # four bytes per pixel, like 8-bit RGBA
        kind = {"L": "<u2", "B": ">u2", "N": "=u2"}[order]  # libtiff gives the native order
        return np.ascontiguousarray(_decode_as(image, "RGBA")).view(kind).astype(np.uint16)
    if layout == "I":
        samples = _decode_grey_16_bit(image)
    else:
        high = _decode_as(image, f"{layout};16{order}").astype(np.uint16)
        file.seek(0)
        again = Image.open(file, formats=FORMATS)
        samples = high << 8 | _decode_as(again, f"{layout};16{_OPPOSITE_ORDER[order]}")
    if "transparency" in image.info:
        opaque = (samples != np.array(image.info["transparency"])).any(axis=2, keepdims=True)
        return np.concatenate([samples, np.where(opaque, 65535, 0).astype(np.uint16)], axis=2)
    if "RGBa" in rawmode:  # Pillow's name for colour that is multiplied by alpha
        straight = samples[..., :3] * 65535.0 / np.maximum(samples[..., 3:], 1)
        samples[..., :3] = np.rint(straight.clip(0, 65535))
    return samples


def _decode_grey_16_bit(image: ImageFile.ImageFile) -> np.ndarray:
    samples = np.asarray(image).astype(np.uint16)[..., None]
    if isinstance(image, TiffImageFile):
        if image.tag_v2[_Tag.PhotometricInterpretation] == _WHITE_IS_ZERO:
            return 65535 - samples
    return samples


def _decode_as(image: ImageFile.ImageFile, rawmode: str) -> np.ndarray:
    """Decode an image as if the layout of its samples in the file were `rawmode`."""
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]
    return np.asarray(image)


def _upright(samples: np.ndarray, orientation: Any) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8) to (H, W, C); ignore any other value."""
    if orientation in (3, 4, 6, 7):
        samples = samples[::-1]
    if orientation in (2, 3, 7, 8):
        samples = samples[:, ::-1]
    return samples.swapaxes(0, 1) if orientation in _ORIENTATIONS_THAT_SWAP_SIDES else samples
