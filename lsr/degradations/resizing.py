"""Resize by area, bilinear or bicubic interpolation: one image, or a batch of different sizes."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lsr.degradations.canvas import take
from lsr.images.resampling import Resampling, taps


def scaled_size(height: float, width: float, factor: float) -> tuple[int, int]:
    """Return a size multiplied by `factor` and rounded down, each side at least one pixel."""
    return max(1, int(height * factor)), max(1, int(width * factor))


def resize(
    x: Tensor,
    size: tuple[int, int],
    mode: str,
    *,
    antialias: bool = False,
    factor: float | None = None,
) -> Tensor:
    """Resize `(C, H, W)` to `size`; an image that already has this size stays unchanged.

    Args:
        x: Image, float32.
        size: Height and width of the result in pixels.
        mode: Interpolation: "area", "bilinear" or "bicubic". Bicubic has a = -0.75, or -0.5 with
            antialiasing.
        antialias: Whether to widen the bilinear and the bicubic filter when the image shrinks.
        factor: Factor that gave `size` by `scaled_size(H, W, factor)`: bilinear and bicubic
            interpolation then step by 1 / factor input pixels, as the published pipeline does.
            None steps by the ratio of the sizes, which keeps the content at its relative place.

    Returns:
        Image `(C, *size)`; bicubic values may lie outside of the range of the input.
    """
    height, width = x.shape[-2:]
    if size == (height, width):
        return x
    # One image per plane: for several channels, PyTorch would choose its bilinear routine by the
    # number of threads, and the result would depend on it.
    planes = x[:, None]
    if mode == "area":
        return F.interpolate(planes, size=size, mode="area")[:, 0]
    if factor is None or _vanishes(height, width, factor):
        return F.interpolate(planes, size=size, mode=mode, antialias=antialias)[:, 0]
    return F.interpolate(planes, scale_factor=factor, mode=mode, antialias=antialias)[:, 0]


def _vanishes(height: int, width: int, factor: float) -> bool:
    """Return whether a side would be shorter than one pixel, which `F.interpolate` refuses."""
    return min(height, width) * factor < 1


def plan(
    height: int, width: int, size: tuple[int, int], mode: str, factor: float | None = None
) -> tuple[Resampling, Resampling]:
    """Return how `resize` resamples an image along its vertical and its horizontal axis.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        size: Height and width of the result in pixels.
        mode: Interpolation, see `resize`.
        factor: Factor that gave `size`, see `resize`.
    """
    row_step = height / size[0]
    column_step = width / size[1]
    same_size = size == (height, width)
    if factor is not None and mode != "area" and not same_size:
        if not _vanishes(height, width, factor):
            row_step = column_step = 1 / factor
    rows = Resampling(height, size[0], row_step, mode)
    return rows, Resampling(width, size[1], column_step, mode)


def resize_ragged(
    x: Tensor,
    plans: Sequence[tuple[Resampling, Resampling]],
    canvas: tuple[int, int],
    antialias: bool,
) -> Tensor:
    """Resize each image of a batch by its own plan.

    The taps are summed in a fixed order, so the result of an image does not depend on the other
    images; a matrix product would not guarantee that.

    Args:
        x: Canvas `(B, C, H, W)` with the images.
        plans: Vertical and horizontal resampling of each image.
        canvas: Height and width of the new canvas in pixels.
        antialias: Whether to widen the bilinear and the bicubic filter when an image shrinks.

    Returns:
        Canvas `(B, C, *canvas)`; outside of the images it holds finite, meaningless values.
    """
    for axis, steps in ((-2, [rows for rows, _ in plans]), (-1, [columns for _, columns in plans])):
        index, weight = taps(steps, canvas[axis], antialias, x.device)
        weight = weight.to(x.dtype)
        weight = weight[:, None, :, None] if axis == -2 else weight[:, None, None]
        x = sum_taps(x, index, weight, axis)
    return x


def sum_taps(x: Tensor, index: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Return weighted sums of rows or columns.

    Args:
        x: Images `(B, C, H, W)`.
        index: For each output row or column, the T rows or columns to sum, `(B, N, T)`.
        weight: Weights `(..., T)`; each weight[..., tap] broadcasts against the output.
        axis: Axis to sum along: -2 for rows, -1 for columns.

    Returns:
        Images `(B, C, N, W)` or `(B, C, H, N)`.
    """
    total = take(x, index[..., 0], axis).mul_(weight[..., 0])
    for tap in range(1, index.shape[-1]):
        total.addcmul_(take(x, index[..., tap], axis), weight[..., tap])
    return total
