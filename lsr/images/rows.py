"""Pictures as streams of rows: each step holds the rows it works on, never the whole picture."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.images.resampling import Resampling, taps, upsample_bicubic

Rows = Iterator[Tensor]
"""Blocks (C, r, W) float32 of a picture from top to bottom, r >= 1."""

ROWS_PER_BLOCK = 128

_PIXELS_PER_BLOCK = 2**20
"""Most pixels per block: the operating system maps memory for larger ones anew at every use."""

BICUBIC_REACH = 2
"""Number of LR pixels on each side of a pixel that `upsample_bicubic` uses."""


def rows_per_block(width: int) -> int:
    """Return the number of rows per block of a picture of some width."""
    return max(1, min(ROWS_PER_BLOCK, _PIXELS_PER_BLOCK // width))


class RowWindow:
    """A window that slides down a stream of rows.

    Args:
        rows: The stream.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._top = 0
        self._held: Tensor | None = None

    def take(self, top: int, bottom: int) -> Tensor:
        """Return the rows [top, bottom) of the stream as (C, bottom - top, W).

        The rows above `top` are dropped, so `top` must not decrease from call to call.
        """
        assert self._top <= top < bottom
        blocks = [] if self._held is None else [self._held]
        height = sum(block.shape[1] for block in blocks)
        while self._top + height < bottom:
            blocks.append(next(self._rows))
            height += blocks[-1].shape[1]
        held = torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]
        # A copy, because a view of a few rows would keep all the others in memory.
        self._held = held[:, top - self._top :].clone() if top > self._top else held
        self._top = top
        return self._held[:, : bottom - top]


def upsample_rows(pixels: np.ndarray, scale: int) -> Rows:
    """Upsample a picture block by block, with the result of `upsample_bicubic`.

    Args:
        pixels: (h, w, C) float32.
        scale: Output pixels per input pixel along each axis.

    Yields:
        Blocks (C, r, scale w), scale h rows in all.
    """
    step = max(1, rows_per_block(scale * pixels.shape[1]) // scale)
    for top in range(0, len(pixels), step):
        bottom = min(top + step, len(pixels))
        above = min(top, BICUBIC_REACH)
        around = np.ascontiguousarray(pixels[top - above : bottom + BICUBIC_REACH])
        upsampled = upsample_bicubic(torch.from_numpy(around).permute(2, 0, 1)[None], scale)[0]
        yield upsampled[:, scale * above :][:, : scale * (bottom - top)]


def resize_rows(rows: Rows, size: tuple[int, int], target: tuple[int, int]) -> Rows:
    """Resize a stream of rows by antialiased cubic convolution with a = -0.5.

    The result is that of `F.interpolate` with `antialias=True` on the whole picture.

    Args:
        rows: The stream.
        size: (height, width) of the stream.
        target: (height, width) of the result.

    Yields:
        Blocks (C, r, target width), target height rows in all.
    """
    if size == target:
        yield from rows
        return
    narrowed = (
        F.interpolate(block[None], (block.shape[1], target[1]), mode="bicubic", antialias=True)[0]
        for block in rows
    )
    if size[0] == target[0]:
        yield from narrowed
        return
    vertical = Resampling(size[0], target[0], size[0] / target[0], "bicubic")
    indices, weights = taps([vertical], target[0], antialias=True, device=torch.device("cpu"))
    index, weight = indices[0], weights[0]
    window = RowWindow(narrowed)
    step = rows_per_block(target[1])
    for top in range(0, target[0], step):
        block = slice(top, top + step)
        first, last = int(index[block].min()), int(index[block].max())
        # Row i of the matrix holds the weights of the input rows that output row i is a sum of.
        matrix = torch.zeros(len(index[block]), last + 1 - first, dtype=torch.float64)
        matrix.scatter_add_(1, index[block] - first, weight[block])
        yield matrix.float() @ window.take(first, last + 1)
