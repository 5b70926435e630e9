"""Writing pictures as PNG, JPEG, WebP or TIFF files.

PNG and TIFF are written row by row, JPEG and WebP by Pillow from the whole picture in 8 bits. If
writing fails, no incomplete file is left, and an older file of that name stays as it was.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from lsr.files import atomic_path
from lsr.images.metadata import exif_with_size, xmp_with_size
from lsr.images.photograph import Photograph, PictureStream
from lsr.images.png_chunks import named
from lsr.images.png_encoding import write_png_stream
from lsr.images.tiff_encoding import write_tiff

_ROOM_IN_JPEG = {
    "exif": 65533 - len(b"Exif\0\0"),
    "xmp": 65533 - len(b"http://ns.adobe.com/xap/1.0/\0"),
}
"""Most bytes of each that a marker of JPEG holds (ITU-T T.81, B.1.1.4; XMP part 3)."""


class UnfitFormat(ValueError):  # noqa: N818
    """A picture that a file format cannot hold; the message is one line without the file's name."""


def write_png(path: Path, photograph: Photograph) -> None:
    """Write a PNG of `photograph.bits` bits per sample, with alpha and metadata.

    A grey photograph is written as one channel, the mean of its three. Samples are clipped to
    [0, 1] and rounded to the nearest level.

    Raises:
        OSError: The file cannot be written. No temporary file is left, and an existing file is
            unchanged.
    """
    write_stream(path, PictureStream.of(photograph), "png")


def write_stream(path: Path, picture: PictureStream, kind: str, quality: int = 95) -> None:
    """Write a picture to a file while it is being computed, see `write_picture`.

    Args:
        path: The file to write.
        picture: The picture; its blocks are consumed.
        kind: File format: "png", "jpeg", "webp" or "tiff".
        quality: Quality of JPEG and WebP files, 1 to 100.

    Raises:
        UnfitFormat: The format cannot hold such a picture; no block has been computed.
        OSError: The file cannot be written. No temporary file is left, and an existing file is
            unchanged.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        write_picture(file, picture, kind, quality)


def write_picture(file: BinaryIO, picture: PictureStream, kind: str, quality: int = 95) -> None:
    """Write a picture to an open file while it is being computed.

    For JPEG and WebP the whole picture is kept in memory in 8 bits; for PNG and TIFF a few of its
    blocks.

    Args:
        file: The file, seekable.
        picture: The picture; its blocks are consumed.
        kind: File format: "png", "jpeg", "webp" or "tiff".
        quality: Quality of JPEG and WebP files, 1 to 100. WebP is lossless at 100; PNG and TIFF
            always are.

    Raises:
        UnfitFormat: The format cannot hold such a picture; no block has been computed.
    """
    check_fits(picture.like, picture.height, picture.width, kind)
    picture = _with_true_sizes(picture)
    if kind == "png":
        write_png_stream(file, picture)
    elif kind == "tiff":
        write_tiff(file, picture)
    elif kind == "jpeg":
        _write_jpeg(file, picture, quality)
    elif kind == "webp":
        _write_webp(file, picture, quality)
    else:
        raise ValueError(f"unknown file format {kind!r}: choose png, jpeg, webp or tiff")


def _with_true_sizes(picture: PictureStream) -> PictureStream:
    """Return a picture whose metadata tell its own size, not that of the original."""
    size = picture.width, picture.height
    exif = exif_with_size(picture.like.exif, *size)
    xmp = xmp_with_size(picture.like.xmp, *size)
    return replace(picture, like=replace(picture.like, exif=exif, xmp=xmp))


def not_kept(photograph: Photograph, kind: str) -> list[str]:
    """Return what of a photograph a file does not keep, in words.

    Args:
        photograph: The photograph.
        kind: File format: "png", "jpeg", "webp" or "tiff".
    """
    notes = [f"not kept: {each}" for each in photograph.left_out]
    if photograph.bits == 16 and kind in ("jpeg", "webp"):
        notes.append(
            f"16 bits per sample became 8, {kind.upper()} holds no more: choose png or tiff"
        )
    if kind == "jpeg":
        notes += [
            f"not kept: {name.upper()} of {len(getattr(photograph, name)):,} bytes, JPEG holds "
            "64 KiB: choose png, webp or tiff"
            for name in _too_long_for_jpeg(photograph)
        ]
    chunks = named(photograph.png) if kind != "png" else ""
    if chunks:
        notes.append(f"not kept: {chunks}, which only PNG holds: choose png")
    return notes


def fit_for(
    kind: str, photograph: Photograph, background: Sequence[float] | None = None
) -> Photograph:
    """Return a photograph without alpha if the format, or the user, wants none and it can go.

    Args:
        kind: File format: "png", "jpeg", "webp" or "tiff".
        photograph: The photograph.
        background: Colour behind it that the user wants, RGB in [0, 1].
    """
    if background is None and kind != "jpeg":
        return photograph
    return photograph.without_alpha(background) or photograph


def check_fits(like: Photograph, height: int, width: int, kind: str) -> None:
    """Raise `UnfitFormat` if a file format cannot hold a picture.

    Args:
        like: A photograph with the alpha channel, or none, of the picture.
        height: Rows of the picture.
        width: Columns of the picture.
        kind: File format: "png", "jpeg", "webp" or "tiff".
    """
    limit = {"jpeg": 65535, "webp": 16383}.get(kind, 2**31 - 1)
    if max(height, width) > limit:
        raise UnfitFormat(
            f"{width}x{height} pixels are too many for {kind.upper()}, whose longest side is "
            f"{limit}: choose the format png or tiff"
        )
    if kind == "jpeg" and like.alpha is not None:
        raise UnfitFormat(
            "JPEG cannot store transparency: choose the format png, webp or tiff, or a colour "
            "behind it, such as --background white"
        )


def _write_jpeg(file: BinaryIO, picture: PictureStream, quality: int) -> None:
    like = picture.like
    too_long = dict.fromkeys(_too_long_for_jpeg(like))
    like = replace(like, **too_long)
    options = {
        "quality": quality,
        "subsampling": 0,  # 4:4:4, because half the colour resolution would undo some of the work
        "icc_profile": like.icc,
        "dpi": like.dpi,
        "exif": _with_marker(like.exif),
        "xmp": like.xmp,
    }
    kept = {name: value for name, value in options.items() if value is not None}
    target: Any = _WithoutDescriptor(file)
    _pillow_image(picture).save(target, "JPEG", **kept)


class _WithoutDescriptor:
    """A file without `fileno`, so that Pillow writes to it by its method `write`.

    With a file descriptor Pillow writes a whole JPEG in one system call, and does not notice if a
    full disk takes only a part of it: the picture would be cut off without an error.

    Args:
        file: The file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write
        self.flush = file.flush


def _too_long_for_jpeg(photograph: Photograph) -> list[str]:
    """Return which of EXIF and XMP, as names of fields, do not fit into a marker of JPEG."""
    return [
        name for name, room in _ROOM_IN_JPEG.items() if len(getattr(photograph, name) or b"") > room
    ]


def _write_webp(file: BinaryIO, picture: PictureStream, quality: int) -> None:
    like = picture.like
    options = {"icc_profile": like.icc, "exif": _with_marker(like.exif), "xmp": like.xmp}
    kept = {name: value for name, value in options.items() if value is not None}
    # `exact` keeps the colours of transparent pixels.
    _pillow_image(picture).save(
        file, "WEBP", quality=quality, lossless=quality == 100, exact=True, **kept
    )


def _with_marker(exif: bytes | None) -> bytes | None:
    return None if exif is None else b"Exif\0\0" + exif


def _pillow_image(picture: PictureStream) -> Image.Image:
    """Return the whole picture in 8 bits."""
    in_8_bits = replace(picture, like=replace(picture.like, bits=8))
    canvas = np.empty((picture.height, picture.width, picture.channels), np.uint8)
    top = 0
    for block in in_8_bits.levels():
        canvas[top : top + len(block)] = block
        top += len(block)
    return Image.fromarray(canvas[..., 0] if picture.channels == 1 else canvas)
