"""Sampling in tiles that agree: the flow's state is one canvas, and at every step the velocities of overlapping tiles are averaged.

After MultiDiffusion (arXiv 2302.08113) with the Gaussian weights of Mixture of Diffusers (arXiv 2302.02412). The noise is a function of
its place on the canvas, so neither the tiles' size nor their number changes it. The canvas streams through the steps from top to
bottom: a step holds a row of tiles, and memory grows neither with the picture's height nor with its number of pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from lsr.flow.classifier_free import guided
from lsr.flow.timesteps import timestep_grid
from lsr.guidance.context import Context
from lsr.images.rows import BICUBIC_REACH, ROWS_PER_BLOCK, Rows, RowWindow
from lsr.models.denoiser import Condition
from lsr.models.mixture import Model

OVERLAP = 0.125
"""Share of a tile that the next one covers as well. A quarter and a half were no better and cost more."""

_SIGMA = 0.1
"""Standard deviation of a tile's weights in units of its side."""

_STREAM = 0x757073636E6F6973  # the second Philox key word: keeps these numbers apart from other users of the same seed


@dataclass(frozen=True)
class Tiles:
    """How tiles of one size cover one axis.

    Attributes:
        starts: Where each begins, increasing, the first at 0.
        side: Their size.
    """

    starts: tuple[int, ...]
    side: int

    @classmethod
    def cover(cls, length: int, side: int) -> "Tiles":
        """Spread as few tiles as overlap by `OVERLAP` over `length` positions; one tile of that length if it is no longer than a tile."""
        if length <= side:
            return cls((0,), length)
        count = 1 + math.ceil((length - side) / max(1, math.floor(side * (1 - OVERLAP))))
        return cls(tuple(round(i * (length - side) / (count - 1)) for i in range(count)), side)

    def finer(self, factor: int) -> "Tiles":
        """Return the same tiles in positions that are `factor` times as fine."""
        return Tiles(tuple(factor * start for start in self.starts), factor * self.side)

    def weights(self) -> Tensor:
        """Return the share of each tile in its positions, (tiles, side): Gaussian about its middle, one in all at every position."""
        inside = torch.arange(self.side) + torch.tensor(self.starts)[:, None]
        total = torch.zeros(self.starts[-1] + self.side, dtype=torch.float64)
        gaussian = torch.exp(
            -0.5
            * ((torch.arange(self.side, dtype=torch.float64) + 0.5) / self.side - 0.5).square()
            / _SIGMA**2
        )
        for positions in inside:
            total[positions] += gaussian
        return (gaussian / total[inside]).float()


def blend(
    rows: Rows,
    evaluate: Callable[[Tensor, int, int], Tensor],
    down: Tiles,
    across: Tiles,
    factor: int = 1,
) -> Rows:
    """Apply a function to overlapping tiles of a stream and average what it gives.

    Args:
        rows: Blocks (C, r, W).
        evaluate: (tile (C, t, t), its first row, its first column) -> (C', factor t, factor t).
        down: The tiles of the H rows.
        across: The tiles of the W columns.
        factor: Output positions per input position and axis.

    Returns:
        Blocks (C', r, factor W).
    """
    window = RowWindow(rows)
    row_weights, column_weights = down.finer(factor).weights(), across.finer(factor).weights()
    width = factor * (across.starts[-1] + across.side)
    unfinished: Tensor | None = None
    for i, top in enumerate(down.starts):
        tiles_row = window.take(top, top + down.side)
        band: Tensor | None = None
        for j, left in enumerate(across.starts):
            tile = evaluate(tiles_row[..., left : left + across.side], top, left)
            if band is None:
                band = tile.new_zeros(len(tile), factor * down.side, width)
            columns = slice(factor * left, factor * (left + across.side))
            band[..., columns] += tile * row_weights[i, :, None] * column_weights[j]
        assert band is not None
        if unfinished is not None:
            band[:, : unfinished.shape[1]] += unfinished
        if i + 1 == len(down.starts):
            yield band
            return
        finished = factor * (down.starts[i + 1] - top)
        unfinished = band[:, finished:].clone()
        yield band[:, :finished]


def noise_rows(seed: int, channels: int, height: int, width: int) -> Rows:
    """Yield standard normal noise (channels, r, width); each row is a function of `seed` and of its own number.

    Equal on all devices: it is drawn by numpy's Philox generator.
    """
    for top in range(0, height, ROWS_PER_BLOCK // 8):
        block = np.empty((min(ROWS_PER_BLOCK // 8, height - top), channels, width), np.float32)
        for i in range(len(block)):
            generator = np.random.Generator(
                np.random.Philox(key=[seed, _STREAM], counter=[0, 0, 0, top + i])
            )
            generator.standard_normal(dtype=np.float32, out=block[i])
        yield torch.from_numpy(block).transpose(0, 1)


@dataclass(frozen=True)
class TiledSampler:
    """Draws the SR image of one LR image of any size as a stream of rows.

    Attributes:
        denoiser: The velocity field.
        lr: (h, w, 3) float32 in [0, 1].
        tile: Side of a tile in LR pixels; 0 takes the whole image as one.
        num_inference_steps: Euler steps.
        shift: The shift of the training times.
        seed: Seed of the noise.
        device: Where tiles are computed; the canvas is in host memory.
        context: The guidance of the image, the same for every tile, or None.
        guidance_scale: See `lsr.flow.classifier_free`.
    """

    denoiser: Model
    lr: np.ndarray
    tile: int
    num_inference_steps: int
    shift: float
    seed: int
    device: torch.device
    context: Context | None = None
    guidance_scale: float = 1.0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the latent canvas."""
        height, width = (-(-side // self.denoiser.lr_multiple) for side in self.lr.shape[:2])
        return height, width

    @property
    def _is_guided(self) -> bool:
        return self.context is not None and self.guidance_scale != 1

    @cached_property
    def _guide(self) -> Condition:
        """The guidance of every tile, whose keys and values are made once; guided it is that of two."""
        nothing = torch.zeros(1, device=self.device)
        context, mask = self.context or (None, None)
        guide = Condition(nothing, nothing, context, mask)
        return guide.doubled_for_cfg() if self._is_guided else guide

    def tiles(self) -> tuple[Tiles, Tiles]:
        """Return the tiles of the latent canvas, down and across."""
        side = max(1, self.tile // self.denoiser.lr_multiple) if self.tile else max(self.grid)
        return Tiles.cover(self.grid[0], side), Tiles.cover(self.grid[1], side)

    def rows(self) -> Rows:
        """Yield the SR image in blocks (3, r, scale w) in [0, 1]."""
        down, across = self.tiles()
        rows = noise_rows(self.seed, self.denoiser.space.channels, *self.grid)
        grid = timestep_grid(self.num_inference_steps, self.shift).tolist()
        for t, t_next in zip(grid, grid[1:], strict=False):
            rows = self._step(rows, t, t_next, down, across)
        height, width = (self.denoiser.config.scale * side for side in self.lr.shape[:2])
        for band in blend(rows, self._decode, down, across, self.denoiser.space.factor):
            for block in band[:, : max(height, 0), :width].split(ROWS_PER_BLOCK, dim=1):
                yield (block.clamp(-1, 1) + 1) / 2
            height -= band.shape[1]

    def _step(self, rows: Rows, t: float, t_next: float, down: Tiles, across: Tiles) -> Rows:
        def step(x: Tensor, top: int, left: int) -> Tensor:
            x = x[None].to(self.device)
            # The velocity asks the LR image for its features; the base is for decoding.
            lr = self._lr_of(x, top, left)
            if self._is_guided:
                velocity = guided(
                    partial(self.denoiser, condition=self._guide.with_image(torch.cat([lr, lr]))),
                    self.guidance_scale,
                )
            else:
                velocity = partial(self.denoiser, condition=self._guide.with_image(lr))
            return (x + (t_next - t) * velocity(x, x.new_full((1,), t)))[0].cpu()

        return blend(rows, torch.no_grad()(step), down, across)

    def _decode(self, x_0: Tensor, top: int, left: int) -> Tensor:
        x_0 = x_0[None].to(self.device)
        # The base must not know where tiles end: it is computed with the bicubic kernel's reach around the tile.
        margin = -(-BICUBIC_REACH // self.denoiser.lr_multiple)
        above, before = min(top, margin), min(left, margin)
        with torch.no_grad():
            condition = self.denoiser.condition(self._lr_of(x_0, top, left, margin))
            base = condition.base[
                ..., above : above + x_0.shape[-2], before : before + x_0.shape[-1]
            ]
            return self.denoiser.decode(x_0, replace(condition, base=base))[0].cpu()

    def _lr_of(self, x: Tensor, top: int, left: int, margin: int = 0) -> Tensor:
        """Return the LR pixels (1, 3, h, w) in [-1, 1] of a latent tile, with a margin inside the canvas, extended by the image's edge."""
        axes = []
        for first, size, length, pixels in zip(
            (top, left), x.shape[-2:], self.grid, self.lr.shape[:2], strict=True
        ):
            begin, end = max(0, first - margin), min(length, first + size + margin)
            multiple = self.denoiser.lr_multiple
            axes.append(np.arange(begin * multiple, end * multiple).clip(max=pixels - 1))
        tile = torch.from_numpy(self.lr[axes[0][:, None], axes[1]]).permute(2, 0, 1)
        return tile[None].to(self.device) * 2 - 1
