"""A picture in memory with everything worth keeping from its file."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

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
        xmp: The XMP packet, with no orientation.
        dpi: Pixels per inch, horizontally and vertically.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    bits: int = 8
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the shapes."""
        assert self.pixels.dtype == np.float32, self.pixels.dtype
        assert self.pixels.ndim == 3 and self.pixels.shape[2] == 3, self.pixels.shape
        assert self.alpha is None or self.alpha.shape == self.pixels.shape[:2], (
            self.alpha.shape,
            self.pixels.shape,
        )
        assert self.bits in (8, 16), self.bits


@dataclass(frozen=True, eq=False)
class PictureStream:
    """A picture that is made while it is written: never in memory as a whole.

    Attributes:
        like: Its bits, greyness and metadata, and whether it has alpha; the pixels are not its own.
        height: Rows H.
        width: Columns W.
        blocks: (r, W, 3) or, with alpha, (r, W, 4) float32, from top to bottom, H rows in all; can be read once.
    """

    like: Photograph
    height: int
    width: int
    blocks: Iterator[np.ndarray] = field(repr=False)

    @classmethod
    def of(cls, photograph: Photograph) -> "PictureStream":
        """Return a picture that is there already, block by block."""
        height, width = photograph.pixels.shape[:2]
        return cls(photograph, height, width, _blocks(photograph))

    @property
    def channels(self) -> int:
        """Samples per pixel in a file: 1 grey, 3 RGB, one more with alpha."""
        return (1 if self.like.grey else 3) + (self.like.alpha is not None)

    def levels(self) -> Iterator[np.ndarray]:
        """Yield (r, W, channels) uint8 or uint16, clipped to [0, 1] and rounded to the nearest level; grey is the mean of the three."""
        for block in self.blocks:
            if self.like.grey:
                block = np.concatenate(
                    [block[..., :3].mean(axis=2, keepdims=True), block[..., 3:]], axis=2
                )
            assert not np.isnan(block).any(), "a photograph holds NaN"
            levels = np.rint(block.clip(0, 1) * np.float32(2**self.like.bits - 1))
            yield levels.astype(np.uint16 if self.like.bits == 16 else np.uint8)


def _blocks(photograph: Photograph) -> Iterator[np.ndarray]:
    for top in range(0, len(photograph.pixels), _ROWS_PER_BLOCK):
        rows = slice(top, top + _ROWS_PER_BLOCK)
        pixels = photograph.pixels[rows]
        yield (
            pixels
            if photograph.alpha is None
            else np.concatenate([pixels, photograph.alpha[rows, :, None]], axis=2)
        )
