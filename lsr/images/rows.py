"""Pictures as streams of rows: a step holds the rows that it is working on, never the whole picture."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.images.resampling import Resampling, taps, upsample_bicubic

Rows = Iterator[Tensor]
"""Blocks (C, r, W) float32 from top to bottom, r >= 1."""

ROWS_PER_BLOCK = 128

BICUBIC_REACH = 2
"""LR pixels that `upsample_bicubic` looks at on each side."""


class RowWindow:
    """A window that slides down a stream.

    Args:
        rows: The stream.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows, self._top = rows, 0
        self._held: Tensor | None = None

    def take(self, top: int, bottom: int) -> Tensor:
        """Return the rows [top, bottom) of the stream; what lies above `top` is forgotten, so `top` must not go back."""
        assert self._top <= top < bottom
        blocks = [] if self._held is None else [self._held]
        height = sum(block.shape[1] for block in blocks)
        while self._top + height < bottom:
            blocks.append(next(self._rows))
            height += blocks[-1].shape[1]
        held = torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]
        # A copy, or a view of a few rows would keep all the others in memory.
        self._held = held[:, top - self._top :].clone() if top > self._top else held
        self._top = top
        return self._held[:, : bottom - top]


def upsample_rows(pixels: np.ndarray, scale: int) -> Rows:
    """Upsample (h, w, C) float32 as `upsample_bicubic` does; yields (C, r, scale w)."""
    step = max(1, ROWS_PER_BLOCK // scale)
    for top in range(0, len(pixels), step):
        bottom, above = min(top + step, len(pixels)), min(top, BICUBIC_REACH)
        around = torch.from_numpy(
            np.ascontiguousarray(pixels[top - above : bottom + BICUBIC_REACH])
        ).permute(2, 0, 1)
        yield upsample_bicubic(around[None], scale)[0, :, scale * above :][
            :, : scale * (bottom - top)
        ]


def resize_rows(rows: Rows, size: tuple[int, int], target: tuple[int, int]) -> Rows:
    """Resize a stream of `size` = (height, width) to `target`: cubic with a = -0.5, antialiased, like `F.interpolate` of the whole."""
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
    index, weight = (
        table[0]
        for table in taps(
            [Resampling(size[0], target[0], size[0] / target[0], "bicubic")],
            target[0],
            True,
            torch.device("cpu"),
        )
    )
    window = RowWindow(narrowed)
    for top in range(0, target[0], ROWS_PER_BLOCK):
        block = slice(top, top + ROWS_PER_BLOCK)
        first, last = int(index[block].min()), int(index[block].max())
        matrix = torch.zeros(len(index[block]), last + 1 - first, dtype=torch.float64)
        matrix.scatter_add_(1, index[block] - first, weight[block])
        yield matrix.float() @ window.take(first, last + 1)
