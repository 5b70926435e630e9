"""Finding image files and reading photographs from them."""

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from lsr.images.decoding import EncodedImage, decode
from lsr.images.photograph import Photograph

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})

FOREIGN_SUFFIXES = frozenset(
    ".gif .heic .heif .avif .jp2 .jxl .psd .exr .hdr .dng .cr2 .cr3 .nef .arw .orf .raf .rw2 .pef".split()
)
"""Pictures of kinds that are not read here; who expects a whole folder to be done wants to hear of them."""


def find_images(
    folder: Path, recursive: bool = True, suffixes: Collection[str] = IMAGE_SUFFIXES
) -> list[Path]:
    """Return the image files below `folder`, told by their suffix, sorted by path.

    Hidden files and folders are skipped, and linked folders are not followed.

    Raises:
        ValueError: `folder` is not a folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found: list[Path] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                found += find_images(Path(entry.path), suffixes=suffixes) if recursive else []
            elif os.path.splitext(entry.name)[1].lower() in suffixes and entry.is_file():
                found.append(Path(entry.path))
    return sorted(found)


def read_photograph(source: Path | EncodedImage) -> Photograph:
    """Read a picture in the precision of its file, with its metadata; the first frame where there are several.

    CMYK is converted to sRGB in 8 bits, through the embedded profile where there is one.

    Raises:
        UnreadableImage: The file is missing, damaged, truncated, of an unsupported kind, or above twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    samples, icc, exif, xmp, dpi = decode(source)
    channels, bits = samples.shape[2], 8 if samples.dtype == np.uint8 else 16
    scaled = samples
    if samples.dtype != np.float32:
        scaled = samples.astype(np.float32)
        scaled /= np.float32(np.iinfo(samples.dtype).max)
    colour = (
        np.repeat(scaled[..., :1], 3, axis=2)
        if channels <= 2
        else np.ascontiguousarray(scaled[..., :3])
    )
    alpha = None if channels in (1, 3) else np.ascontiguousarray(scaled[..., -1])
    return Photograph(colour, alpha, bits, channels <= 2, icc, exif, xmp, dpi)


def read_rgb8(source: Path | EncodedImage) -> np.ndarray:
    """Read a picture as writable (H, W, 3) uint8 RGB, upright; alpha is dropped, deeper samples are rounded to the nearest 8-bit level.

    Raises:
        UnreadableImage: As for `read_photograph`.
    """
    samples = decode(source).samples
    colour = samples[..., : 1 if samples.shape[2] <= 2 else 3]
    if colour.dtype == np.uint16:
        colour = ((colour.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif colour.dtype == np.float32:
        colour = np.rint(colour * 255).astype(np.uint8)
    return (
        np.repeat(colour, 3, axis=2)
        if colour.shape[2] == 1
        else np.require(colour, requirements=["C", "W"])
    )
