"""Resize by area, bilinear or bicubic interpolation: one image, or a batch of images of different sizes."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lsr.degradations.canvas import take
from lsr.images.resampling import Resampling, taps


def scaled_size(height: float, width: float, factor: float) -> tuple[int, int]:
    """Return the size `factor` times as large, rounded down, at least one pixel."""
    return max(1, int(height * factor)), max(1, int(width * factor))


def resize(
    x: Tensor,
    size: tuple[int, int],
    mode: str,
    *,
    antialias: bool = False,
    factor: float | None = None,
) -> Tensor:
    """Resize `(C, H, W)` to `size`.

    Args:
        x: float32 image.
        size: (height, width) of the result.
        mode: "area", "bilinear" or "bicubic" (a = -0.75, or -0.5 with antialiasing).
        antialias: widen the bilinear and bicubic weights when shrinking.
        factor: let bilinear and bicubic step by 1 / factor input pixels, where `size` is `scaled_size(H, W, factor)`; None steps
            by the ratio of the sizes, which keeps the content registered. An unchanged size leaves the image as it is.

    Returns:
        `(C, *size)`; bicubic may overshoot the input's range.
    """
    height, width = x.shape[-2:]
    if size == (height, width):
        return x
    planes = x[
        :, None
    ]  # torch chooses its bilinear routine by the number of threads unless every plane is an image
    if mode == "area":
        return F.interpolate(planes, size=size, mode="area")[:, 0]
    if factor is None or _vanishes(height, width, factor):
        return F.interpolate(planes, size=size, mode=mode, antialias=antialias)[:, 0]
    return F.interpolate(planes, scale_factor=factor, mode=mode, antialias=antialias)[:, 0]


def _vanishes(height: int, width: int, factor: float) -> bool:
    return min(height, width) * factor < 1


def plan(
    height: int, width: int, size: tuple[int, int], mode: str, factor: float | None = None
) -> tuple[Resampling, Resampling]:
    """Return what `resize` does with an image of this size along its two axes."""
    if (
        factor is None
        or mode == "area"
        or size == (height, width)
        or _vanishes(height, width, factor)
    ):
        return Resampling(height, size[0], height / size[0], mode), Resampling(
            width, size[1], width / size[1], mode
        )
    return Resampling(height, size[0], 1 / factor, mode), Resampling(
        width, size[1], 1 / factor, mode
    )


def resize_ragged(
    x: Tensor,
    plans: Sequence[tuple[Resampling, Resampling]],
    canvas: tuple[int, int],
    antialias: bool,
) -> Tensor:
    """Resize each image of a canvas `(B, C, H, W)` by its own plan onto a canvas `(B, C, *canvas)`.

    Sums over taps in a fixed order, so that an image's result does not depend on the other images, which a product of matrices
    would not promise. Outside of each result the canvas holds finite, meaningless values.
    """
    for axis, steps in ((-2, [rows for rows, _ in plans]), (-1, [columns for _, columns in plans])):
        index, weight = taps(steps, canvas[axis], antialias, x.device)
        weight = weight.to(x.dtype)
        weight = weight[:, None, :, None] if axis == -2 else weight[:, None, None]
        x = sum_taps(x, index, weight, axis)
    return x


def sum_taps(x: Tensor, index: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Return the weighted sum over the last axis of `index` `(B, N, T)` and of the broadcastable `weight` `(..., T)`."""
    total = take(x, index[..., 0], axis).mul_(weight[..., 0])
    for tap in range(1, index.shape[-1]):
        total.addcmul_(take(x, index[..., tap], axis), weight[..., tap])
    return total
