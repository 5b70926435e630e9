"""Sample an SR image in overlapping tiles whose velocities are averaged at every step.

This is MultiDiffusion (arXiv 2302.08113) with the Gaussian weights of Mixture of Diffusers (arXiv
2302.02412). All tiles share one latent state, the canvas. The noise is a function of the position
on the canvas: neither the size nor the number of the tiles changes it. The canvas streams through
the steps from top to bottom. Each step holds one row of tiles, so memory grows with the width of
the photograph but not with its height. The Euler step is written here once more: `sample_euler` of
`lsr.flow.samplers` samples whole batches, not a stream of rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lsr.batch import Context
from lsr.flow.classifier_free import guided
from lsr.flow.timesteps import timestep_grid
from lsr.images.rows import BICUBIC_REACH, ROWS_PER_BLOCK, Rows, RowWindow
from lsr.inference.config import SamplingConfig
from lsr.models.condition import Condition
from lsr.models.mixture import Model

OVERLAP = 0.125
"""Share of a tile that the next tile covers too. 0.25 and 0.5 were no better and cost more."""

_SIGMA = 0.1
"""Standard deviation of the Gaussian weights of a tile, as a share of its side."""

_STREAM = 0x757073636E6F6973
"""Second key word of Philox: keeps this noise independent of other draws with the same seed."""


@dataclass(frozen=True)
class Tiles:
    """Positions of equal tiles that cover one axis.

    Attributes:
        starts: First position of each tile, increasing; the first tile starts at 0.
        side: Positions per tile.
    """

    starts: tuple[int, ...]
    side: int

    @classmethod
    def cover(cls, length: int, side: int) -> "Tiles":
        """Return the fewest tiles that cover `length` positions and overlap by `OVERLAP` at least.

        They are spread evenly. If a single tile is enough, it is `length` long.
        """
        if length <= side:
            return cls((0,), length)
        stride = max(1, math.floor(side * (1 - OVERLAP)))
        count = 1 + math.ceil((length - side) / stride)
        return cls(tuple(round(i * (length - side) / (count - 1)) for i in range(count)), side)

    def finer(self, factor: int) -> "Tiles":
        """Return the same tiles on an axis with `factor` times as many positions."""
        return Tiles(tuple(factor * start for start in self.starts), factor * self.side)

    def weights(self) -> Tensor:
        """Return the weight of each tile at each of its positions, (tiles, side).

        The weights are a Gaussian around the middle of the tile, divided by the sum over all tiles:
        at every position of the axis they sum to 1.
        """
        positions = torch.arange(self.side) + torch.tensor(self.starts)[:, None]
        total = torch.zeros(self.starts[-1] + self.side, dtype=torch.float64)
        middles = (torch.arange(self.side, dtype=torch.float64) + 0.5) / self.side - 0.5
        gaussian = torch.exp(-0.5 * middles.square() / _SIGMA**2)
        for tile in positions:
            total[tile] += gaussian
        return (gaussian / total[positions]).float()


def blend(
    rows: Rows,
    evaluate: Callable[[Tensor, int, int], Tensor],
    down: Tiles,
    across: Tiles,
    factor: int = 1,
) -> Rows:
    """Apply a function to the overlapping tiles of a stream and yield the weighted mean.

    Args:
        rows: Blocks (C, r, W).
        evaluate: Maps a tile (C, t, t), its first row and its first column to a tile
            (C', factor t, factor t).
        down: Tiles of the H rows.
        across: Tiles of the W columns.
        factor: Output positions per input position along each axis.

    Yields:
        Blocks (C', r, factor W).
    """
    window = RowWindow(rows)
    row_weights = down.finer(factor).weights()
    column_weights = across.finer(factor).weights()
    width = factor * (across.starts[-1] + across.side)
    unfinished: Tensor | None = None  # rows that the next row of tiles covers too
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
        # A view would keep the whole band in memory.
        unfinished = band[:, finished:].clone()
        yield band[:, :finished]


def noise_rows(seed: int, channels: int, height: int, width: int) -> Rows:
    """Yield standard normal noise (channels, r, width) from top to bottom.

    A row of noise depends on `seed` and the number of the row only. numpy's Philox generator draws
    it on the CPU, so that it is the same for all devices.
    """
    block_height = ROWS_PER_BLOCK // 8
    for top in range(0, height, block_height):
        block = np.empty((min(block_height, height - top), channels, width), np.float32)
        for i in range(len(block)):
            generator = np.random.Generator(
                np.random.Philox(key=[seed, _STREAM], counter=[0, 0, 0, top + i])
            )
            generator.standard_normal(dtype=np.float32, out=block[i])
        yield torch.from_numpy(block).transpose(0, 1)


@dataclass(frozen=True, kw_only=True)
class TiledSampler:
    """Samples the SR image of one LR image of any size as a stream of rows.

    Attributes:
        denoiser: The velocity field.
        lr: LR image (h, w, 3) float32 in [0, 1].
        shift: Shift of the noise schedule, the same as in training.
        sampling: Settings of sampling; `tile` below stands in place of `sampling.tile`.
        tile: Side of the tiles in LR pixels; 0 makes one tile of the whole image.
        device: Device that computes the tiles; the canvas stays in host memory.
        context: Guidance of the image, the same for every tile, or None.
    """

    denoiser: Model
    lr: np.ndarray
    shift: float
    sampling: SamplingConfig
    tile: int
    device: torch.device
    context: Context | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the latent canvas."""
        height, width = (-(-side // self.denoiser.lr_multiple) for side in self.lr.shape[:2])
        return height, width

    @property
    def _is_guided(self) -> bool:
        """Whether classifier-free guidance evaluates every tile with and without the context."""
        return self.context is not None and self.sampling.guidance_scale != 1

    @cached_property
    def _guide(self) -> Condition:
        """The condition that all tiles share: the context, whose keys and values are computed once.

        `with_image` adds the LR image of a tile. For classifier-free guidance it is doubled.
        """
        nothing = torch.zeros(1, device=self.device)
        tokens, mask = self.context or (None, None)
        guide = Condition(nothing, nothing, tokens, mask)
        return guide.doubled_for_cfg() if self._is_guided else guide

    def tiles(self) -> tuple[Tiles, Tiles]:
        """Return the tiles of the rows and those of the columns of the latent canvas."""
        height, width = self.grid
        if self.tile:
            side = max(1, self.tile // self.denoiser.lr_multiple)
        else:
            side = max(height, width)
        return Tiles.cover(height, side), Tiles.cover(width, side)

    def rows(self) -> Rows:
        """Yield the SR image in blocks (3, r, scale w) in [0, 1]."""
        down, across = self.tiles()
        rows = noise_rows(self.sampling.seed, self.denoiser.space.channels, *self.grid)
        times = timestep_grid(self.sampling.num_inference_steps, self.shift).tolist()
        for t, t_next in pairwise(times):
            rows = self._step(rows, t, t_next, down, across)
        height, width = (self.denoiser.config.scale * side for side in self.lr.shape[:2])
        # The canvas is padded to whole latent pixels: cut off what lies outside the image.
        for band in blend(rows, self._decode, down, across, self.denoiser.space.factor):
            for block in band[:, : max(height, 0), :width].split(ROWS_PER_BLOCK, dim=1):
                yield (block.clamp(-1, 1) + 1) / 2
            height -= band.shape[1]

    def _step(self, rows: Rows, t: float, t_next: float, down: Tiles, across: Tiles) -> Rows:
        """Take one Euler step from time t to t_next on every tile of the canvas."""

        def step(x: Tensor, top: int, left: int) -> Tensor:
            x = x[None].to(self.device)
            velocity = self._velocity(self._lr_of(x, top, left))
            return (x + (t_next - t) * velocity(x, x.new_full((1,), t)))[0].cpu()

        return blend(rows, torch.no_grad()(step), down, across)

    def _velocity(self, lr: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the velocity field of a tile whose LR pixels are `lr`, (1, 3, h, w)."""
        if not self._is_guided:
            return partial(self.denoiser, condition=self._guide.with_image(lr))
        both = partial(self.denoiser, condition=self._guide.with_image(torch.cat([lr, lr])))
        return guided(both, self.sampling.guidance_scale)

    def _decode(self, x_0: Tensor, top: int, left: int) -> Tensor:
        """Return the image (3, f t, f t) of a latent tile (C, t, t) at time 0."""
        x_0 = x_0[None].to(self.device)
        # The base, the bicubically upsampled LR image, must not depend on where tiles end: it is
        # computed with a margin as wide as the bicubic kernel reaches.
        margin = -(-BICUBIC_REACH // self.denoiser.lr_multiple)
        above, before = min(top, margin), min(left, margin)
        with torch.no_grad():
            condition = self.denoiser.condition(self._lr_of(x_0, top, left, margin))
            base = condition.base[
                ..., above : above + x_0.shape[-2], before : before + x_0.shape[-1]
            ]
            return self.denoiser.decode(x_0, replace(condition, base=base))[0].cpu()

    def _lr_of(self, x: Tensor, top: int, left: int, margin: int = 0) -> Tensor:
        """Return the LR pixels (1, 3, h, w) in [-1, 1] below a latent tile.

        Args:
            x: The latent tile, for its size.
            top: First row of the tile on the canvas.
            left: First column of the tile on the canvas.
            margin: Latent positions to add on each side, as far as the canvas reaches. Beyond the
                LR image its last row and column are repeated.
        """
        multiple = self.denoiser.lr_multiple
        axes = []
        for first, size, length, pixels in zip(
            (top, left), x.shape[-2:], self.grid, self.lr.shape[:2], strict=True
        ):
            begin = max(0, first - margin)
            end = min(length, first + size + margin)
            axes.append(np.arange(begin * multiple, end * multiple).clip(max=pixels - 1))
        tile = torch.from_numpy(self.lr[axes[0][:, None], axes[1]]).permute(2, 0, 1)
        return tile[None].to(self.device) * 2 - 1
