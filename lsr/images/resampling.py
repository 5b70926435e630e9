"""Resampling: the taps of area, bilinear and bicubic interpolation, and bicubic upsampling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_MODES = ("area", "bilinear", "bicubic")
_AREA, _, _BICUBIC = range(3)


def upsample_bicubic(lr: Tensor, scale: int) -> Tensor:
    """Upsample images by Keys' cubic convolution with a = -0.5, the baseline of the field.

    Args:
        lr: (B, 3, h, w).
        scale: Output pixels per input pixel along each axis.

    Returns:
        (B, 3, scale h, scale w) float32.
    """
    # antialias=True selects a = -0.5; the filter is not widened when the image grows.
    return F.interpolate(lr.float(), scale_factor=scale, mode="bicubic", antialias=True)


@dataclass(frozen=True)
class Resampling:
    """The resizing of one image along one axis.

    Attributes:
        length: Input pixels.
        size: Output pixels.
        step: Input pixels per output pixel.
        mode: Interpolation: "area", "bilinear" or "bicubic".
    """

    length: int
    size: int
    step: float
    mode: str


def taps(
    steps: Sequence[Resampling], canvas: int, antialias: bool, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return which input pixels every output pixel is a sum of, and with which weights.

    Closed forms of `torch.nn.functional.interpolate` with `align_corners=False`: means over whole
    pixels (area), linear interpolation, and cubic convolution (Keys, "Cubic Convolution
    Interpolation for Digital Image Processing", 1981).

    Args:
        steps: The resizing of each of B images.
        canvas: Output pixels to return for each image. Beyond the `size` of an image, the last
            output pixel is repeated.
        antialias: Whether to widen the linear and the cubic filter when the image shrinks. The
            cubic has a = -0.5 if so, else a = -0.75, as in PyTorch.
        device: Device of the result.

    Returns:
        Indices (B, canvas, T) int64 of the input pixels and their weights (B, canvas, T) float64.
    """
    count = max(_tap_count(step, antialias) for step in steps)
    table = torch.tensor(
        [(s.length, s.size, _MODES.index(s.mode), s.step) for s in steps], dtype=torch.float64
    )
    length, size, mode, step = table.to(device, non_blocking=True)[:, :, None, None].unbind(1)
    out = torch.arange(canvas, dtype=torch.float64, device=device)[:, None].minimum(size - 1)
    tap = torch.arange(count, dtype=torch.float64, device=device)

    # Output pixel i is the mean of the input pixels from floor(i length / size) to
    # ceil((i + 1) length / size), as in adaptive average pooling.
    area_start = (out * length / size).floor()
    area_end = ((out + 1) * length / size).ceil()
    area_index = area_start + tap
    area = (area_index < area_end) / (area_end - area_start)

    is_cubic = mode == _BICUBIC
    width = step.clamp(min=1) if antialias else torch.ones_like(step)
    centre = (out + 0.5) * step  # pixel i covers the interval from i to i + 1
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

    index = torch.where(mode == _AREA, area_index, index).clamp(min=0).minimum(length - 1)
    return index.long(), torch.where(mode == _AREA, area, weight)


def _tap_count(step: Resampling, antialias: bool) -> int:
    """Return an upper bound of the input pixels that one output pixel is a sum of."""
    if step.mode == "area":
        return math.ceil(step.length / step.size) + 1
    reach = 2 if step.mode == "bicubic" else 1
    return 2 * math.ceil(reach * max(step.step, 1)) + 1 if antialias else 2 * reach


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Return the kernel of cubic convolution (Keys 1981) at distances >= 0 in pixels."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
