"""Blur with a kernel of its own for each image, and unsharp masking."""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.degradations.canvas import Extent, take
from lsr.degradations.precision import matmul_dtype

_LANES = 16
_TILES = ((16, 16), (16, 64), (32, 64), (64, 64))
_NEGLIGIBLE = 1e-8

_USM_TAPS = 51
_USM_WEIGHT = 0.5
_USM_THRESHOLD = 10 / 255


def mirror(index: Tensor, size: Tensor) -> Tensor:
    """Fold any integer `index` into [0, size) by reflection at the centres of the border pixels, as often as needed."""
    last = size - 1
    return (last - (index % (2 * last).clamp(min=1) - last).abs()).clamp(min=0)


def reflect_pad(x: Tensor, pad: int) -> Tensor:
    """Pad `(C, H, W)` by `pad` on every side with its reflection; any size of at least 1 x 1 will do."""
    height, width = x.shape[-2:]
    if min(height, width) > pad:
        return F.pad(x, (pad, pad, pad, pad), mode="reflect")
    rows = mirror(torch.arange(-pad, height + pad, device=x.device), torch.tensor(height))
    columns = mirror(torch.arange(-pad, width + pad, device=x.device), torch.tensor(width))
    return x.index_select(-2, rows).index_select(-1, columns)


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlate an image with a kernel, reflecting at the border.

    CPU convolution libraries run a depthwise convolution 16 channels at a time and compile one routine per shape, which they
    keep. So the image is cut into tiles of a few fixed shapes which become the channels: all lanes are busy, the data stay in the
    cache, and the memory does not grow with the number of image sizes seen. The kernel is cut to the taps that matter in single
    precision; most Gaussians are much narrower than their size.

    Args:
        x: `(C, H, W)` float32 on the CPU.
        kernel: `(21, 21)` float32.

    Returns:
        `(C, H, W)` float32.
    """
    channels, height, width = x.shape
    half = _reach(kernel)
    taps, centre = 2 * half + 1, kernel.shape[-1] // 2
    kernel = kernel[centre - half : centre + half + 1, centre - half : centre + half + 1]

    tile_height, tile_width = min(_TILES, key=lambda tile: _cost(channels, height, width, tile))
    rows, columns = math.ceil(height / tile_height), math.ceil(width / tile_width)
    count = channels * rows * columns
    padded = reflect_pad(x, half)
    if (rows * tile_height, columns * tile_width) != (height, width):
        padded = F.pad(padded, (0, columns * tile_width - width, 0, rows * tile_height - height))
    window = tile_height + 2 * half, tile_width + 2 * half
    windows = x.new_empty(math.ceil(count / _LANES), _LANES, *window)
    source = padded.unfold(1, window[0], tile_height).unfold(2, window[1], tile_width)
    windows.view(-1, *window)[:count].view(source.shape).copy_(source)
    windows.view(-1, *window)[
        count:
    ].zero_()  # idle lanes, where left-over denormal numbers would cost ten times the rest

    weight = kernel.expand(_LANES, 1, taps, taps).contiguous()
    blurred = torch.cat([F.conv2d(lanes[None], weight, groups=_LANES) for lanes in windows])
    blurred = blurred.view(-1, tile_height, tile_width)[:count].view(
        channels, rows, columns, tile_height, tile_width
    )
    return blurred.transpose(2, 3).reshape(channels, rows * tile_height, columns * tile_width)[
        :, :height, :width
    ]


def _reach(kernel: Tensor) -> int:
    """Return the largest distance from the centre, along either axis, of a tap above `_NEGLIGIBLE`; at least 1."""
    rows, columns = np.nonzero(np.abs(kernel.numpy()) > _NEGLIGIBLE)
    centre = kernel.shape[-1] // 2
    return max(1, int(np.abs(rows - centre).max()), int(np.abs(columns - centre).max()))


def _cost(channels: int, height: int, width: int, tile: tuple[int, int]) -> int:
    """Return the pixels convolved, with an allowance for each call."""
    calls = math.ceil(channels * math.ceil(height / tile[0]) * math.ceil(width / tile[1]) / _LANES)
    return calls * (tile[0] * tile[1] + 256)


def blur_ragged(x: Tensor, kernels: Tensor, size: int, extent: Extent | None = None) -> Tensor:
    """Correlate each image of a canvas with its own kernel, as one grouped convolution.

    Args:
        x: `(B, C, H, W)` float32.
        kernels: `(B, 21, 21)` float32.
        size: the largest odd size of the kernels proper.
        extent: sizes of the images, None if they fill the canvas.

    Returns:
        `(B, C, H, W)`; outside of each image undefined but finite.
    """
    batch, channels, height, width = x.shape
    half, cut = size // 2, (kernels.shape[-1] - size) // 2
    heights = torch.full((batch,), height, device=x.device) if extent is None else extent.heights
    widths = torch.full((batch,), width, device=x.device) if extent is None else extent.widths
    rows = mirror(torch.arange(-half, height + half, device=x.device), heights[:, None])
    columns = mirror(torch.arange(-half, width + half, device=x.device), widths[:, None])
    padded = take(take(x, rows, -2), columns, -1).flatten(0, 1)[None]
    weight = kernels[:, None, cut : cut + size, cut : cut + size].repeat_interleave(channels, 0)
    return F.conv2d(padded, weight, groups=batch * channels).view(x.shape)


def gaussian_blur(x: Tensor) -> Tensor:
    """Blur `(C, H, W)` with the Gaussian of the unsharp mask, reflecting at the border.

    The filter is separable; along each axis it is a product with one banded matrix per block of output pixels, which is about
    a hundred times faster than the 51 x 51 convolution.
    """
    channels, height, width = x.shape
    block = (
        32 if x.device.type == "cpu" else 128
    )  # the first suits the cache, the second makes few launches
    window = block + _USM_TAPS - 1
    dtype = matmul_dtype(x.device)
    band = _gaussian_band(block, dtype, x.device)
    rows, columns = math.ceil(height / block), math.ceil(width / block)
    padded = F.pad(
        reflect_pad(x.to(dtype), _USM_TAPS // 2),
        (0, columns * block - width, 0, rows * block - height),
    )

    horizontal = padded.new_empty(channels, padded.shape[1], columns * block)
    lines, blurred_lines = padded.flatten(0, 1), horizontal.view(-1, columns * block)
    for start in range(0, columns * block, block):
        torch.mm(
            lines[:, start : start + window], band, out=blurred_lines[:, start : start + block]
        )
    both = padded.new_empty(channels, rows * block, columns * block)
    left = band.t().expand(channels, -1, -1)
    for start in range(0, rows * block, block):
        torch.bmm(left, horizontal[:, start : start + window], out=both[:, start : start + block])
    return both[:, :height, :width].to(x.dtype)


@lru_cache(maxsize=8)
def _gaussian_band(block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the `(block + 50, block)` matrix whose columns hold the Gaussian, each one row further down."""
    sigma = 0.3 * ((_USM_TAPS - 1) / 2 - 1) + 0.8
    offset = torch.arange(_USM_TAPS, dtype=torch.float64) - _USM_TAPS // 2
    taps = torch.exp(-(offset**2) / (2 * sigma**2))
    taps /= taps.sum()
    position = torch.arange(block + _USM_TAPS - 1)[:, None] - torch.arange(block)[None, :]
    inside = (position >= 0) & (position < _USM_TAPS)
    return torch.where(inside, taps[position.clamp(0, _USM_TAPS - 1)], 0.0).to(device, dtype)


def unsharp_mask(x: Tensor) -> Tensor:
    """Sharpen `(C, H, W)` in [0, 1] where the detail exceeds a threshold, with a softened mask.

    r = x - g(x), m = [|r| > 10 / 255], y = x + g(m) (clip(x + r / 2, 0, 1) - x), where g is a Gaussian blur of 51 taps: the
    unsharp mask of Real-ESRGAN.
    """
    residual = x - gaussian_blur(x)
    soft = gaussian_blur((residual.abs() > _USM_THRESHOLD).float())
    return torch.lerp(x, (x + _USM_WEIGHT * residual).clamp_(0, 1), soft)
