"""Batches of images of different sizes: each lies in the upper left corner of a common canvas."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Extent:
    """Sizes of the images of a batch.

    Attributes:
        heights: Heights in pixels, `(B,)` int64, at least 1.
        widths: Widths in pixels, `(B,)` int64, at least 1.
    """

    heights: Tensor
    widths: Tensor

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, int]], device: torch.device) -> "Extent":
        """Return the extent of images of the given sizes (height, width)."""
        both = torch.tensor(sizes).to(device, non_blocking=True)
        return cls(both[:, 0], both[:, 1])

    def halved(self) -> "Extent":
        """Return the extent after halving both axes, rounding up."""
        return Extent((self.heights + 1) // 2, (self.widths + 1) // 2)

    def __getitem__(self, index: Tensor) -> "Extent":
        return Extent(self.heights[index], self.widths[index])


def replicate_outside(x: Tensor, extent: Extent | None) -> Tensor:
    """Fill the canvas outside of each image with the nearest border pixels of the image.

    Args:
        x: Canvas `(B, C, H, W)`.
        extent: Sizes of the images; None returns `x`.
    """
    if extent is None:
        return x
    rows = torch.arange(x.shape[-2], device=x.device).minimum(extent.heights[:, None] - 1)
    columns = torch.arange(x.shape[-1], device=x.device).minimum(extent.widths[:, None] - 1)
    return take(take(x, rows, -2), columns, -1)


def blank_outside(x: Tensor, extent: Extent | None) -> Tensor:
    """Set the canvas outside of each image to zero.

    Args:
        x: Canvas `(B, C, H, W)`.
        extent: Sizes of the images; None returns `x`.
    """
    if extent is None:
        return x
    rows = torch.arange(x.shape[-2], device=x.device) < extent.heights[:, None]
    columns = torch.arange(x.shape[-1], device=x.device) < extent.widths[:, None]
    return torch.where(rows[:, None, :, None] & columns[:, None, None, :], x, 0)


def take(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Return rows or columns of each image, chosen by the image's own indices.

    Args:
        x: Images `(B, C, H, W)`.
        index: Indices `(B, N)` of rows or columns.
        axis: Axis to choose from: -2 for rows, -1 for columns.

    Returns:
        Images `(B, C, N, W)` or `(B, C, H, N)`.
    """
    shape = list(x.shape)
    shape[axis] = index.shape[1]
    index = index[:, None, :, None] if axis == -2 else index[:, None, None, :]
    return x.gather(axis, index.expand(shape))
