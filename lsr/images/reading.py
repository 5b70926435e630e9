"""Finding image files in a folder, and reading photographs from them."""

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from lsr.images.decoding import decode
from lsr.images.opening import EncodedImage
from lsr.images.photograph import Photograph

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
"""Suffixes of the image files that this package can read."""

FOREIGN_SUFFIXES = frozenset(
    """.gif .heic .heif .avif .jp2 .jxl .psd .exr .hdr .dng .cr2 .cr3 .nef .arw .orf .raf .rw2
    .pef""".split()
)
"""Suffixes of image files that this package cannot read.

A command that processes a whole folder reports such files as failed, so that nobody believes that
they were done.
"""


def find_images(
    folder: Path, recursive: bool = True, suffixes: Collection[str] = IMAGE_SUFFIXES
) -> list[Path]:
    """Return the image files below a folder, sorted by path.

    Hidden files and folders are skipped, and symbolic links to folders are not followed.

    Args:
        folder: The folder.
        recursive: Whether to search the folders inside it too.
        suffixes: Suffixes of image files, in lower case and with their dot.

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
    """Read the first frame of an image file in the precision of the file, with its metadata.

    CMYK is converted to 8-bit sRGB, with the embedded ICC profile if there is a usable one.

    Raises:
        UnreadableImage: The file is missing, damaged, truncated, of an unsupported kind, or has
            more pixels than twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    samples, icc, exif, xmp, dpi = decode(source)
    values = samples
    if samples.dtype != np.float32:
        values = samples.astype(np.float32)
        values /= np.float32(np.iinfo(samples.dtype).max)
    bits = 8 if samples.dtype == np.uint8 else 16
    return Photograph.of_samples(values, bits, icc=icc, exif=exif, xmp=xmp, dpi=dpi)


def read_rgb8(source: Path | EncodedImage) -> np.ndarray:
    """Read the first frame of an image file as writable (H, W, 3) uint8 RGB, upright.

    Alpha is dropped; samples of more than 8 bits are rounded to the nearest 8-bit level.

    Raises:
        UnreadableImage: For the same reasons as `read_photograph`.
    """
    samples = decode(source).samples
    colour = samples[..., : 1 if samples.shape[2] <= 2 else 3]
    if colour.dtype == np.uint16:
        # 65535 = 255 * 257, so this is the nearest of the 256 levels.
        colour = ((colour.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif colour.dtype == np.float32:
        colour = np.rint(colour * 255).astype(np.uint8)
    if colour.shape[2] == 1:
        return np.repeat(colour, 3, axis=2)
    return np.require(colour, requirements=["C", "W"])
