"""Decoding image files with Pillow, and floating-point TIFF with OpenCV.

Pillow offers 16-bit colour only as its high bytes, so such files are decoded a second time for the low bytes: no sample is rounded to
8 bits on the way. Whatever is wrong with a file ends as one `UnreadableImage` line, and Pillow's and OpenCV's warnings are silenced; only
libtiff's own complaint about damaged compressed data still reaches stderr.
"""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from lsr.images.metadata import dpi_of, exif_bytes, exif_of, has_trailing_orientation, xmp_bytes

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_Tag = ExifTags.Base
# Pillow's letters for byte order: little, big and native.
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


class UnreadableImage(ValueError):  # noqa: N818
    """A file that cannot be read as an image; the message is one line, `path: reason`."""


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image file inside another file or in memory.

    Attributes:
        name: What an error message calls it.
        file: Its bytes; seekable, read from the beginning wherever it stands, and left open.
    """

    name: str
    file: BinaryIO

    def __str__(self) -> str:
        return self.name


class Decoded(NamedTuple):
    """What a file holds.

    Attributes:
        samples: (H, W, C) uint8 or uint16 over their full range or float32 in [0, 1]; C is 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha,
            the alpha not multiplied into the colour.
        icc: The colour profile of the samples.
        exif: The EXIF block from its TIFF header on, without orientation.
        xmp: The XMP packet, without orientation.
        dpi: Pixels per inch, horizontally and vertically.
    """

    samples: np.ndarray
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None


def probe(source: Path | EncodedImage) -> tuple[int, int]:
    """Return (width, height) of the upright picture from the file's header, without decoding it.

    Raises:
        UnreadableImage: The header cannot be read. Damage further on goes unnoticed.
    """
    with _reading(source) as file:
        header = _float_tiff_header(file)
        if header is not None:
            return int(header[_Tag.ImageWidth]), int(header[_Tag.ImageLength])
        image = Image.open(file, formats=_FORMATS)
        if image.format == "PNG" and has_trailing_orientation(file):
            image.load()
        # Pillow's versions differ in whether a TIFF's size is upright.
        tiff = isinstance(image, TiffImageFile)
        width, height = (
            (image.tag_v2[_Tag.ImageWidth], image.tag_v2[_Tag.ImageLength]) if tiff else image.size
        )
        rotated = exif_of(image).get(_Tag.Orientation) in (5, 6, 7, 8)
        return (height, width) if rotated else (width, height)


@contextmanager
def _reading(source: Path | EncodedImage) -> Iterator[BinaryIO]:
    """Give the file to decode inside the block; every failure becomes `UnreadableImage` and no warning gets out."""
    truncation_allowed, ImageFile.LOAD_TRUNCATED_IMAGES = (
        ImageFile.LOAD_TRUNCATED_IMAGES,
        False,
    )  # other libraries switch it on
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with (
                nullcontext(source.file)
                if isinstance(source, EncodedImage)
                else open(source, "rb") as file
            ):
                file.seek(0)
                if not file.read(1):
                    raise UnreadableImage(f"{source}: the file is empty")
                file.seek(0)
                yield file
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(
            f"{source}: not a PNG, JPEG, WebP, TIFF or BMP image, or an unsupported or damaged one"
        ) from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"{source}: more than {_pixel_limit():,} pixels") from None
    except Exception as error:  # Pillow's parsers let out whatever a damaged file provokes: struct.error, KeyError, SyntaxError...
        if isinstance(error, OSError) and error.strerror:
            raise UnreadableImage(f"{source}: {error.strerror}") from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"{source}: damaged or truncated ({reason})") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncation_allowed


def _pixel_limit() -> int:
    """Return the number of pixels above which Pillow refuses a file (it warns at half of it, where cameras are by now)."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 2**62)


def decode(source: Path | EncodedImage) -> Decoded:
    """Decode the first frame of an image file, in the precision of its samples and with the EXIF orientation applied.

    CMYK becomes 8-bit sRGB, through the embedded profile where there is one.

    Raises:
        UnreadableImage: The file is missing, damaged, truncated, of an unsupported kind, or above twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    with _reading(source) as file:
        header = _float_tiff_header(file)
        if header is not None:
            icc, xmp = header.get(_Tag.InterColorProfile), header.get(_Tag.XMLPacket)
            samples = _decode_float_tiff(source, file, header)
            return Decoded(samples, icc, exif_bytes(header, tiff=True), xmp_bytes(xmp), None)
        image = Image.open(file, formats=_FORMATS)
        tiff = isinstance(image, TiffImageFile)
        if tiff:
            _check_tiff(source, file, image)
        rawmode = _rawmode(image)
        icc = None if image.mode == "CMYK" else image.info.get("icc_profile")
        if image.mode not in (
            "1",
            "L",
            "LA",
            "P",
            "RGB",
            "RGBA",
            "RGBX",
            "YCbCr",
            "CMYK",
        ) and not image.mode.startswith("I;16"):
            raise UnreadableImage(
                f"{source}: samples of the kind {image.mode} ({rawmode}) are not supported"
            )
        samples = (
            _decode_16_bit(file, image, rawmode)
            if ";16" in rawmode and image.mode != "CMYK"
            else _decode_8_bit(image)
        )
        exif = exif_of(image)
        upright = _upright(samples, exif.get(_Tag.Orientation))
        return Decoded(
            upright,
            icc,
            exif_bytes(exif, tiff),
            xmp_bytes(image.info.get("xmp")),
            dpi_of(image.info.get("dpi")),
        )


def _rawmode(image: ImageFile.ImageFile) -> str:
    """Return Pillow's name for the samples' layout in the file, such as `RGB;16B`; empty where the format has only one."""
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
            return ImageCms.buildTransform(
                source, ImageCms.createProfile("sRGB"), "CMYK", "RGB"
            ).apply(image)
        except (ImageCms.PyCMSError, OSError):  # a broken profile, or one of another colour space
            pass
    return image.convert("RGB")


def _decode_16_bit(file: BinaryIO, image: ImageFile.ImageFile, rawmode: str) -> np.ndarray:
    """Return (H, W, C) uint16; colour is decoded once for the high byte of each sample and once for the low byte."""
    if rawmode == "LA;16B":  # laid out like 8-bit RGBA
        return np.ascontiguousarray(_decode_as(image, "RGBA")).view(">u2").astype(np.uint16)
    layout, _, order = rawmode.replace("RGBa", "RGBA").rpartition(";16")
    if layout == "I":
        samples = np.asarray(image).astype(np.uint16)[..., None]
        if isinstance(image, TiffImageFile) and image.tag_v2[_Tag.PhotometricInterpretation] == 0:
            samples = 65535 - samples
    else:
        high = _decode_as(image, f"{layout};16{order}").astype(np.uint16)
        file.seek(0)
        samples = high << 8 | _decode_as(
            Image.open(file, formats=_FORMATS), f"{layout};16{_OTHER_BYTE[order]}"
        )
    if "transparency" in image.info:
        opaque = (samples != np.array(image.info["transparency"])).any(axis=2, keepdims=True)
        return np.concatenate([samples, np.where(opaque, 65535, 0).astype(np.uint16)], axis=2)
    if "RGBa" in rawmode:
        straight = samples[..., :3] * 65535.0 / np.maximum(samples[..., 3:], 1)
        samples[..., :3] = np.rint(straight.clip(0, 65535))
    return samples


def _decode_as(image: ImageFile.ImageFile, rawmode: str) -> np.ndarray:
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]
    return np.asarray(image)


def _check_tiff(source: Path | EncodedImage, file: BinaryIO, image: TiffImageFile) -> None:
    """Refuse what Pillow would misread, and truncated data before libtiff complains about it on stderr."""
    tags = image.tag_v2
    bits = tags.get(_Tag.BitsPerSample, (1,))
    if max(bits) > 8 and (
        tags.get(_Tag.PlanarConfiguration) == 2 and len(bits) > 1 or max(bits) != 16
    ):
        raise UnreadableImage(
            f"{source}: a TIFF of {max(bits)} bits per sample in this layout is not supported"
        )
    size = file.seek(0, os.SEEK_END)
    for offsets, counts in (
        (_Tag.StripOffsets, _Tag.StripByteCounts),
        (_Tag.TileOffsets, _Tag.TileByteCounts),
    ):
        if any(
            start + count > size
            for start, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        ):
            raise UnreadableImage(f"{source}: damaged or truncated (the pixels end after the file)")


def _float_tiff_header(file: BinaryIO) -> Image.Exif | None:
    """Return the tags of a TIFF with floating-point samples, None for any other file."""
    magic = file.read(4)
    file.seek(0)
    if magic not in (b"II*\0", b"MM\0*"):
        return None
    header = Image.Exif()
    header.load_from_fp(file)
    file.seek(0)
    return header if np.all(np.equal(header.get(_Tag.SampleFormat, 1), 3)) else None


def _decode_float_tiff(
    source: Path | EncodedImage, file: BinaryIO, header: Image.Exif
) -> np.ndarray:
    import cv2

    if header[_Tag.ImageWidth] * header[_Tag.ImageLength] > _pixel_limit():
        raise UnreadableImage(f"{source}: more than {_pixel_limit():,} pixels")
    # OpenCV scrambles colour planes, and mirrors or refuses rotated pictures whatever the flags.
    plain = {
        _Tag.PlanarConfiguration: (1,),
        _Tag.Orientation: (1,),
        _Tag.ExtraSamples: (0, 2),
        _Tag.PhotometricInterpretation: (1, 2),
    }
    if any(tag in header and header[tag] not in values for tag, values in plain.items()):
        raise UnreadableImage(
            f"{source}: a floating-point TIFF with planes, rotation, multiplied alpha or colours other than RGB"
        )
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        samples = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if samples is None or samples.dtype not in (np.float32, np.float64):
        raise UnreadableImage(f"{source}: a damaged or unsupported floating-point TIFF")
    if not (samples.min() >= 0 and samples.max() <= 1):  # false for NaN as well
        raise UnreadableImage(f"{source}: floating-point samples outside [0, 1] or not a number")
    samples = samples.astype(np.float32).reshape(*samples.shape[:2], -1)
    return samples if samples.shape[2] == 1 else samples[..., [2, 1, 0, 3][: samples.shape[2]]]


def _upright(samples: np.ndarray, orientation: Any) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8) to (H, W, C); anything else leaves the picture as it is."""
    if orientation in (3, 4, 6, 7):
        samples = samples[::-1]
    if orientation in (2, 3, 7, 8):
        samples = samples[:, ::-1]
    return samples.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else samples
