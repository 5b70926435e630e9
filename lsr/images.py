"""Photographs on disk: the one place where the project finds, reads and writes image files."""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsr.atomic import atomic_path
from lsr.image_decoding import EncodedImage, UnreadableImage, decode, probe

__all__ = [
    "IMAGE_SUFFIXES",
    "EncodedImage",
    "Photograph",
    "UnreadableImage",
    "find_images",
    "probe",
    "read_photograph",
    "read_rgb8",
    "write_png",
]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})

_ROWS_PER_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture with everything worth keeping from its file.

    Attributes:
        pixels: (H, W, 3) float32 RGB in [0, 1], upright; the three channels of a grey picture are equal.
        alpha: (H, W) float32 opacity in [0, 1], not multiplied into `pixels`; None where the picture is opaque.
        bits: Bits per sample of the file, 8 or 16; floating-point files count as 16.
        grey: Whether the file holds a single colour channel.
        icc: The ICC profile that `pixels` are to be interpreted with, None for sRGB.
        exif: The EXIF block from its TIFF header on (without the `Exif` marker of JPEG), with no orientation.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    bits: int = 8
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        assert self.pixels.dtype == np.float32, self.pixels.dtype
        assert self.pixels.ndim == 3 and self.pixels.shape[2] == 3, self.pixels.shape
        assert self.alpha is None or self.alpha.shape == self.pixels.shape[:2], (self.alpha.shape, self.pixels.shape)
        assert self.bits in (8, 16), self.bits


def find_images(folder: Path, recursive: bool = True) -> list[Path]:
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
                found += find_images(Path(entry.path)) if recursive else []
            elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and entry.is_file():
                found.append(Path(entry.path))
    return sorted(found)


def read_photograph(source: Path | EncodedImage) -> Photograph:
    """Read a picture in the precision of its file, with its metadata; the first frame where there are several.

    CMYK is converted to sRGB in 8 bits, through the embedded profile where there is one.

    Raises:
        UnreadableImage: The file is missing, damaged, truncated, of an unsupported kind, or above twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    samples, icc, exif = decode(source)
    channels = samples.shape[2]
    scaled = samples if samples.dtype == np.float32 else samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)
    colour = np.repeat(scaled[..., :1], 3, axis=2) if channels <= 2 else np.ascontiguousarray(scaled[..., :3])
    alpha = None if channels in (1, 3) else np.ascontiguousarray(scaled[..., -1])
    return Photograph(colour, alpha, 8 if samples.dtype == np.uint8 else 16, channels <= 2, icc, exif)


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
    return np.repeat(colour, 3, axis=2) if colour.shape[2] == 1 else np.require(colour, requirements=["C", "W"])


def write_png(path: Path, photograph: Photograph) -> None:
    """Write a PNG of `photograph.bits` per sample, with its alpha, ICC profile and EXIF block.

    A grey photograph is written as one channel, the mean of its three. Samples are clipped to [0, 1] and rounded to the
    nearest level. The file appears under its name complete or not at all.

    Raises:
        OSError: The file cannot be written; nothing is left behind and an existing file stays.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in _png_chunks(photograph):
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _png_chunks(photograph: Photograph) -> Iterator[tuple[bytes, bytes]]:
    """Yield the (type, data) of each chunk, as laid down in the PNG specification (ISO/IEC 15948)."""
    height, width = photograph.pixels.shape[:2]
    colour_type = (0 if photograph.grey else 2) + (0 if photograph.alpha is None else 4)
    yield b"IHDR", struct.pack(">IIBBBBB", width, height, photograph.bits, colour_type, 0, 0, 0)
    if photograph.icc is not None:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(photograph.icc)
    if photograph.exif is not None:
        yield b"eXIf", photograph.exif
    compressor = zlib.compressobj(4)
    above: np.ndarray | None = None
    for top in range(0, height, _ROWS_PER_BLOCK):
        samples = _quantised(photograph, slice(top, top + _ROWS_PER_BLOCK))
        pixel_bytes = samples.shape[2] * samples.itemsize
        rows = samples.reshape(len(samples), -1).view(np.uint8)
        left, up = np.zeros_like(rows), np.zeros_like(rows)
        left[:, pixel_bytes:] = rows[:, :-pixel_bytes]
        up[1:] = rows[:-1]
        if above is not None:
            up[0] = above
        above = rows[-1]
        # Of the five filters the average of left and above compresses photographs best; 3 is its number.
        filtered = rows - ((left.astype(np.uint16) + up) // 2).astype(np.uint8)
        compressed = compressor.compress(np.insert(filtered, 0, 3, axis=1).tobytes())
        if compressed:
            yield b"IDAT", compressed
    yield b"IDAT", compressor.flush()
    yield b"IEND", b""


def _quantised(photograph: Photograph, rows: slice) -> np.ndarray:
    """Return (rows, W, C) samples as the bytes of a PNG want them: big-endian, grey or RGB, then alpha."""
    pixels = photograph.pixels[rows]
    channels = [pixels.mean(axis=2, keepdims=True) if photograph.grey else pixels]
    if photograph.alpha is not None:
        channels.append(photograph.alpha[rows, :, None])
    values = np.concatenate(channels, axis=2)
    assert not np.isnan(values).any(), "a photograph holds NaN"
    levels = np.rint(values.clip(0, 1) * np.float32(2**photograph.bits - 1))
    return levels.astype(">u2" if photograph.bits == 16 else np.uint8)
