"""Reading photographs from image files."""

from pathlib import Path

import numpy as np

from lsr.images.decoding import decode
from lsr.images.formats import OPTIONAL_SUFFIXES
from lsr.images.opening import EncodedImage
from lsr.images.photograph import Photograph

IMAGE_SUFFIXES = OPTIONAL_SUFFIXES.union(
    ".png .apng .jpg .jpeg .jpe .jfif .jif .webp .tif .tiff .bmp .gif".split()
)
"""Suffixes of the image files that this package can read."""

FOREIGN_SUFFIXES = (
    frozenset(
        """.heic .heif .avif .jp2 .jpx .j2k .jxl .jxr .psd .exr .hdr .tga .ppm .pgm .pnm .qoi .svg
        .dng .cr2 .cr3 .nef .arw .orf .raf .rw2 .pef .srw .x3f""".split()
    )
    - IMAGE_SUFFIXES
)
"""Suffixes of image files that this package cannot read.

A command that processes a whole folder reports such files as failed, so that nobody believes that
they were done.
"""


def read_photograph(source: Path | EncodedImage) -> Photograph:
    """Read an image file in the precision of the file, with its metadata.

    CMYK is converted to 8-bit sRGB, with the embedded ICC profile if there is a usable one.

    Raises:
        UnreadableImage: The file is missing, damaged, truncated, of an unsupported kind, or has
            more pixels than `lsr.images.opening.pixel_limit`.
    """
    decoded = decode(source)
    samples = decoded.samples
    values = samples
    if samples.dtype != np.float32:
        values = samples.astype(np.float32)
        values /= np.float32(np.iinfo(samples.dtype).max)
    bits = 8 if samples.dtype == np.uint8 else 16
    metadata = {name: value for name, value in decoded._asdict().items() if name != "samples"}
    return Photograph.of_samples(values, bits, **metadata)


def read_rgb8(source: Path | EncodedImage) -> np.ndarray:
    """Read an image file as writable (H, W, 3) uint8 RGB, upright.

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
