"""Compute what the network and the decoder see of an LR picture, cell by cell."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lsr.images.resampling import upsample_bicubic
from lsr.images.rows import BICUBIC_REACH
from lsr.inference.cells import Cell, CellGrid
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import Model


@dataclass(frozen=True)
class LRPicture:
    """An LR picture on the grid of latent positions.

    Beyond the picture its outermost rows and columns are repeated: the margin on each side, and at
    the lower and right border up to a whole number of positions.

    Attributes:
        pixels: LR image (h, w, 3) float32 in [0, 1].
        grid: Grid of latent positions.
        device: Device of the results.
        margin: Pixels that the grid begins above and left of the image.
    """

    pixels: np.ndarray
    grid: CellGrid
    device: torch.device
    margin: int

    def features(self, denoiser: Denoiser, cell: Cell) -> Tensor:
        """Return the LR features (1, stem_width, r, c) of a cell."""
        outer = cell.grown(-(-denoiser.stem.reach // denoiser.lr_multiple), self.grid)
        return denoiser.stem(self.below(outer, denoiser.lr_multiple))[..., *cell.inside(outer)]

    def refine(self, denoiser: Denoiser, prediction: Tensor, cell: Cell) -> Tensor:
        """Return what the head of a denoiser makes of the predictions (B, C, r, c) of a cell."""
        assert denoiser.head is not None
        lr = self.below(cell, denoiser.lr_multiple)
        return denoiser.head(prediction, lr.expand(len(prediction), -1, -1, -1))

    def decode(self, denoiser: Model, x_0: Tensor, cell: Cell) -> Tensor:
        """Return the image (1, 3, f r, f c) of the data x_0 (1, C, r, c) of a cell.

        This is `Denoiser.decode` for a space whose map is linear and decodes every position on its
        own.
        """
        config = denoiser.config
        if not config.residual_std:
            return denoiser.space.decode(x_0)
        # The bicubically upsampled LR image must not depend on where cells end.
        outer = cell.grown(-(-BICUBIC_REACH // denoiser.lr_multiple), self.grid)
        base = upsample_bicubic(self.below(outer, denoiser.lr_multiple), config.scale)
        factor = denoiser.space.factor
        part = cell.times(factor).inside(outer.times(factor))
        return denoiser.space.decode(config.residual_std * x_0).add_(base[..., *part])

    def below(self, cell: Cell, lr_multiple: int) -> Tensor:
        """Return the LR pixels (1, 3, h, w) in [-1, 1] of a cell.

        Args:
            cell: The cell.
            lr_multiple: LR pixels per latent position and axis.
        """
        height, width = self.pixels.shape[:2]
        inner = cell.times(lr_multiple)
        rows = np.arange(inner.top, inner.bottom) - self.margin
        columns = np.arange(inner.left, inner.right) - self.margin
        rows = rows.clip(0, height - 1)
        columns = columns.clip(0, width - 1)
        pixels = torch.from_numpy(self.pixels[rows[:, None], columns]).permute(2, 0, 1)
        return pixels[None].to(self.device) * 2 - 1
