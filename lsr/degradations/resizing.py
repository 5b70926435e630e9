"""Resize by area, bilinear or bicubic interpolation: one image, or a batch of images of different sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.degradations.canvas import take

_MODES = ("area", "bilinear", "bicubic")


def scaled_size(height: float, width: float, factor: float) -> tuple[int, int]:
    """Return the size `factor` times as large, rounded down, at least one pixel."""
    return max(1, int(height * factor)), max(1, int(width * factor))


def resize(x: Tensor, size: tuple[int, int], mode: str, *, antialias: bool = False, factor: float | None = None) -> Tensor:
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
    planes = x[:, None]  # torch chooses its bilinear routine by the number of threads unless every plane is an image
    if mode == "area":
        return F.interpolate(planes, size=size, mode="area")[:, 0]
    if factor is None or _vanishes(height, width, factor):
        return F.interpolate(planes, size=size, mode=mode, antialias=antialias)[:, 0]
    return F.interpolate(planes, scale_factor=factor, mode=mode, antialias=antialias)[:, 0]


def _vanishes(height: int, width: int, factor: float) -> bool:
    return min(height, width) * factor < 1


@dataclass(frozen=True)
class Resampling:
    """One axis of the resize of one image.

    Attributes:
        length: input pixels.
        size: output pixels.
        step: input pixels per output pixel.
        mode: "area", "bilinear" or "bicubic".
    """

    length: int
    size: int
    step: float
    mode: str


def plan(height: int, width: int, size: tuple[int, int], mode: str, factor: float | None = None) -> tuple[Resampling, Resampling]:
    """Return what `resize` does with an image of this size along its two axes."""
    if factor is None or mode == "area" or size == (height, width) or _vanishes(height, width, factor):
        return Resampling(height, size[0], height / size[0], mode), Resampling(width, size[1], width / size[1], mode)
    return Resampling(height, size[0], 1 / factor, mode), Resampling(width, size[1], 1 / factor, mode)


def resize_ragged(x: Tensor, plans: Sequence[tuple[Resampling, Resampling]], canvas: tuple[int, int], antialias: bool) -> Tensor:
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


def taps(steps: Sequence[Resampling], canvas: int, antialias: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the input pixels and weights of every output pixel: `(B, canvas, T)` int64 and float64.

    Closed forms of what `torch.nn.functional.interpolate` does with `align_corners=False`: means over whole pixels (area),
    linear and cubic convolution (Keys 1981).
    """
    count = max(_tap_count(step, antialias) for step in steps)
    table = torch.tensor([(s.length, s.size, _MODES.index(s.mode), s.step) for s in steps], dtype=torch.float64)
    length, size, mode, step = table.to(device, non_blocking=True)[:, :, None, None].unbind(1)
    out = torch.arange(canvas, dtype=torch.float64, device=device)[:, None].minimum(size - 1)
    tap = torch.arange(count, dtype=torch.float64, device=device)

    area_start, area_end = (out * length / size).floor(), ((out + 1) * length / size).ceil()
    area_index = area_start + tap
    area = (area_index < area_end) / (area_end - area_start)

    is_cubic = mode == 2
    width = step.clamp(min=1) if antialias else torch.ones_like(step)
    centre = (out + 0.5) * step
    if antialias:
        reach = torch.where(is_cubic, 2.0, 1.0) * width
        index = (centre - reach + 0.5).floor().clamp(min=0) + tap
        distance = (index + 0.5 - centre).abs() / width
        inside = index < torch.minimum((centre + reach + 0.5).floor(), length)
        weight = torch.where(is_cubic, _cubic(distance, -0.5), (1 - distance).clamp(min=0)) * inside
        weight = weight / weight.sum(-1, keepdim=True)
    else:
        source = centre - 0.5
        index = source.floor() - torch.where(is_cubic, 1.0, 0.0) + tap
        distance = (index - source).abs()
        weight = torch.where(is_cubic, _cubic(distance, -0.75), (1 - distance).clamp(min=0))

    index = torch.where(mode == 0, area_index, index).clamp(min=0).minimum(length - 1)
    return index.long(), torch.where(mode == 0, area, weight)


def _tap_count(step: Resampling, antialias: bool) -> int:
    if step.mode == "area":
        return math.ceil(step.length / step.size) + 1
    reach = 2 if step.mode == "bicubic" else 1
    return 2 * math.ceil(reach * max(step.step, 1)) + 1 if antialias else 2 * reach


def _cubic(distance: Tensor, a: float) -> Tensor:
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
