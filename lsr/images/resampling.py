"""Resampling: the taps of area, bilinear and bicubic interpolation, and bicubic upsampling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_MODES = ("area", "bilinear", "bicubic")


def upsample_bicubic(lr: Tensor, scale: int) -> Tensor:
    """Upsample (B, 3, h, w) by Keys' cubic with a = -0.5, the baseline of the field, to (B, 3, scale h, scale w)."""
    # antialias=True selects a = -0.5; the filter is not widened when the image grows.
    return F.interpolate(lr.float(), scale_factor=scale, mode="bicubic", antialias=True)


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


def taps(
    steps: Sequence[Resampling], canvas: int, antialias: bool, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the input pixels and weights of every output pixel: `(B, canvas, T)` int64 and float64.

    Closed forms of what `torch.nn.functional.interpolate` does with `align_corners=False`: means over whole pixels (area),
    linear and cubic convolution (Keys 1981).
    """
    count = max(_tap_count(step, antialias) for step in steps)
    table = torch.tensor(
        [(s.length, s.size, _MODES.index(s.mode), s.step) for s in steps], dtype=torch.float64
    )
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
