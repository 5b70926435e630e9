"""Photographs in memory: whole, or as a stream of rows while they are being computed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lsr.images.png_chunks import Chunks

_ROWS_PER_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Photograph:
    """The pixels of an image file with all of its metadata that a copy should keep.

    Attributes:
        pixels: (H, W, 3) float32 RGB in [0, 1], upright. The three channels of a grey picture are
            equal.
        alpha: (H, W) float32 opacity in [0, 1], not multiplied into `pixels`; None for an opaque
            picture.
        bits: Bits per sample of the file, 8 or 16. Floating-point files count as 16.
        grey: Whether the file holds a single colour channel.
        icc: ICC profile of `pixels`; None for sRGB.
        exif: EXIF block from its TIFF header on (without the `Exif` marker of JPEG), without the
            orientation.
        xmp: XMP packet, without the orientation.
        dpi: Pixels per inch, horizontally and vertically.
        png: Chunks of a PNG file that a copy in PNG keeps: text, and the meaning of the samples.
        left_out: What of the file is in none of these fields, in words.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    bits: int = 8
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    png: Chunks = ()
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the shapes and types of the fields."""
        assert self.pixels.dtype == np.float32, self.pixels.dtype
        assert self.pixels.ndim == 3 and self.pixels.shape[2] == 3, self.pixels.shape
        if self.alpha is not None:
            assert self.alpha.shape == self.pixels.shape[:2], (self.alpha.shape, self.pixels.shape)
        assert self.bits in (8, 16), self.bits

    @classmethod
    def of_samples(cls, values: np.ndarray, bits: int, **metadata: Any) -> "Photograph":
        """Return the photograph of interleaved samples.

        Args:
            values: (H, W, C) float32 in [0, 1]; C is 1 grey, 2 grey + alpha, 3 RGB or
                4 RGB + alpha.
            bits: Bits per sample of the file, 8 or 16.
            **metadata: The fields from `icc` on.
        """
        channels = values.shape[2]
        grey = channels <= 2
        if grey:
            pixels = np.repeat(values[..., :1], 3, axis=2)
        else:
            pixels = np.ascontiguousarray(values[..., :3])
        alpha = np.ascontiguousarray(values[..., -1]) if channels in (2, 4) else None
        return cls(pixels, alpha, bits, grey, **metadata)

    def without_alpha(self, background: Sequence[float] | None = None) -> "Photograph | None":
        """Return the photograph in front of a colour; None if it needs one that is not given.

        Args:
            background: RGB in [0, 1]. An opaque photograph needs none.
        """
        if self.alpha is None or (self.alpha == 1).all():
            return replace(self, alpha=None)
        if background is None:
            return None
        opacity = self.alpha[..., None]
        colour = np.asarray(background, np.float32)
        pixels = self.pixels * opacity + colour * (1 - opacity)
        grey = self.grey and len(set(background)) == 1
        icc = self.icc if grey == self.grey else None  # a profile of grey does not fit colours
        return replace(self, pixels=pixels, alpha=None, grey=grey, icc=icc)


@dataclass(frozen=True, eq=False)
class PictureStream:
    """A picture that is computed while it is written, so that it is never in memory as a whole.

    Attributes:
        like: A photograph with the bits, the greyness, the presence of alpha and the metadata of
            the picture. Its pixels are not used.
        height: Number of rows H.
        width: Number of columns W.
        blocks: Blocks (r, W, 3) or, with alpha, (r, W, 4) float32 from top to bottom, H rows in
            all. They can be read once.
    """

    like: Photograph
    height: int
    width: int
    blocks: Iterator[np.ndarray] = field(repr=False)

    @classmethod
    def of(cls, photograph: Photograph) -> "PictureStream":
        """Return a photograph in memory as a stream."""
        height, width = photograph.pixels.shape[:2]
        return cls(photograph, height, width, _blocks(photograph))

    @property
    def channels(self) -> int:
        """Samples per pixel in a file: 1 for grey, 3 for RGB, one more with alpha."""
        return (1 if self.like.grey else 3) + (self.like.alpha is not None)

    def levels(self) -> Iterator[np.ndarray]:
        """Yield the blocks as samples of a file: (r, W, channels) uint8 or uint16.

        Values are clipped to [0, 1] and rounded to the nearest level. Grey is the mean of the three
        colour channels.
        """
        for block in self.blocks:
            if self.like.grey:
                grey = block[..., :3].mean(axis=2, keepdims=True)
                block = np.concatenate([grey, block[..., 3:]], axis=2)
            assert not np.isnan(block).any(), "a photograph holds NaN"
            levels = block.clip(0, 1)
            levels *= np.float32(2**self.like.bits - 1)
            np.rint(levels, out=levels)
            yield levels.astype(np.uint16 if self.like.bits == 16 else np.uint8)


def _blocks(photograph: Photograph) -> Iterator[np.ndarray]:
    """Yield the rows of a photograph in blocks as `PictureStream.blocks` holds them."""
    for top in range(0, len(photograph.pixels), _ROWS_PER_BLOCK):
        rows = slice(top, top + _ROWS_PER_BLOCK)
        pixels = photograph.pixels[rows]
        if photograph.alpha is None:
            yield pixels
        else:
            yield np.concatenate([pixels, photograph.alpha[rows, :, None]], axis=2)
