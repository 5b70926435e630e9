"""Blur with one kernel per image, and unsharp masking."""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.degradations.canvas import Extent, take
from lsr.degradations.precision import matmul_dtype

# Channels that the convolution libraries of a CPU process together in a depth-wise convolution.
_LANES = 16

# Heights and widths of the tiles into which `blur` cuts an image.
_TILES = ((16, 16), (16, 64), (32, 64), (64, 64))

# Work of one convolution call besides its pixels, in pixels.
_CALL_COST = 256

# Smaller taps do not matter in single precision.
_NEGLIGIBLE = 1e-8

_USM_TAPS = 51
_USM_WEIGHT = 0.5
_USM_THRESHOLD = 10 / 255


def mirror(index: Tensor, size: Tensor) -> Tensor:
    """Fold indices into [0, size) by reflection at the centres of the border pixels.

    Args:
        index: Any integers; they are reflected as often as needed.
        size: Number of pixels, broadcast against `index`.
    """
    last = size - 1
    return (last - (index % (2 * last).clamp(min=1) - last).abs()).clamp(min=0)


def reflect_pad(x: Tensor, pad: int) -> Tensor:
    """Pad `(C, H, W)` by `pad` pixels on every side with its reflection.

    Unlike `F.pad`, it accepts images that are smaller than `pad`, from 1 x 1 on.
    """
    height, width = x.shape[-2:]
    if min(height, width) > pad:
        return F.pad(x, (pad, pad, pad, pad), mode="reflect")
    rows = mirror(torch.arange(-pad, height + pad, device=x.device), torch.tensor(height))
    columns = mirror(torch.arange(-pad, width + pad, device=x.device), torch.tensor(width))
    return x.index_select(-2, rows).index_select(-1, columns)


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlate an image with a kernel; the image is reflected at its border.

    Convolution libraries for CPUs run a depth-wise convolution 16 channels at a time, and compile
    and keep one routine per shape. So the image is cut into tiles of a few fixed shapes, and the
    tiles become the channels: all lanes are busy, the data stay in the cache, and memory does not
    grow with the number of image sizes. The kernel is cut to the taps that matter in single
    precision; most Gaussians are much narrower than their kernel.

    Args:
        x: Image `(C, H, W)`, float32 on the CPU.
        kernel: Kernel `(21, 21)`, float32.

    Returns:
        Image `(C, H, W)`, float32.
    """
    channels, height, width = x.shape
    half = _reach(kernel)
    taps = 2 * half + 1
    centre = kernel.shape[-1] // 2
    kernel = kernel[centre - half : centre + half + 1, centre - half : centre + half + 1]

    tile_height, tile_width = min(_TILES, key=lambda tile: _cost(channels, height, width, tile))
    rows = math.ceil(height / tile_height)
    columns = math.ceil(width / tile_width)
    count = channels * rows * columns
    padded = reflect_pad(x, half)
    if (rows * tile_height, columns * tile_width) != (height, width):
        padded = F.pad(padded, (0, columns * tile_width - width, 0, rows * tile_height - height))
    window = tile_height + 2 * half, tile_width + 2 * half
    windows = x.new_empty(math.ceil(count / _LANES), _LANES, *window)
    source = padded.unfold(1, window[0], tile_height).unfold(2, window[1], tile_width)
    flat = windows.view(-1, *window)
    flat[:count].view(source.shape).copy_(source)
    # Memory of idle lanes may hold denormal numbers, which cost ten times all the rest.
    flat[count:].zero_()

    weight = kernel.expand(_LANES, 1, taps, taps).contiguous()
    blurred = torch.cat([F.conv2d(lanes[None], weight, groups=_LANES) for lanes in windows])
    tiles = blurred.view(-1, tile_height, tile_width)[:count]
    tiles = tiles.view(channels, rows, columns, tile_height, tile_width).transpose(2, 3)
    whole = tiles.reshape(channels, rows * tile_height, columns * tile_width)
    return whole[:, :height, :width]


def _reach(kernel: Tensor) -> int:
    """Return the largest distance from the centre of a tap that matters; at least 1.

    The distance is counted along either axis.
    """
    rows, columns = np.nonzero(np.abs(kernel.numpy()) > _NEGLIGIBLE)
    centre = kernel.shape[-1] // 2
    return max(1, int(np.abs(rows - centre).max()), int(np.abs(columns - centre).max()))


def _cost(channels: int, height: int, width: int, tile: tuple[int, int]) -> int:
    """Return the pixels to convolve with tiles of a shape, plus an allowance for each call."""
    calls = math.ceil(channels * math.ceil(height / tile[0]) * math.ceil(width / tile[1]) / _LANES)
    return calls * (tile[0] * tile[1] + _CALL_COST)


def blur_ragged(x: Tensor, kernels: Tensor, size: int, extent: Extent | None = None) -> Tensor:
    """Correlate each image of a canvas with its own kernel, in one grouped convolution.

    Args:
        x: Canvas `(B, C, H, W)`, float32.
        kernels: Kernels `(B, 21, 21)`, float32.
        size: Largest side of the kernels in pixels, odd; taps outside of it are zero.
        extent: Sizes of the images; None if they fill the canvas.

    Returns:
        Canvas `(B, C, H, W)`; outside of the images its values are undefined but finite.
    """
    batch, channels, height, width = x.shape
    half = size // 2
    cut = (kernels.shape[-1] - size) // 2
    heights = torch.full((batch,), height, device=x.device) if extent is None else extent.heights
    widths = torch.full((batch,), width, device=x.device) if extent is None else extent.widths
    rows = mirror(torch.arange(-half, height + half, device=x.device), heights[:, None])
    columns = mirror(torch.arange(-half, width + half, device=x.device), widths[:, None])
    padded = take(take(x, rows, -2), columns, -1).flatten(0, 1)[None]
    weight = kernels[:, None, cut : cut + size, cut : cut + size].repeat_interleave(channels, 0)
    return F.conv2d(padded, weight, groups=batch * channels).view(x.shape)


def gaussian_blur(x: Tensor) -> Tensor:
    """Blur `(C, H, W)` with the Gaussian of the unsharp mask, reflecting at the border.

    The filter is separable: along each axis, every block of output pixels is the product of a
    window of input pixels and one banded matrix. This is about a hundred times faster than the
    convolution with 51 x 51 taps.
    """
    channels, height, width = x.shape
    # 32 pixels fit the cache of a CPU; 128 need few kernel launches on a GPU.
    block = 32 if x.device.type == "cpu" else 128
    window = block + _USM_TAPS - 1
    dtype = matmul_dtype(x.device)
    band = _gaussian_band(block, dtype, x.device)
    rows = math.ceil(height / block)
    columns = math.ceil(width / block)
    reflected = reflect_pad(x.to(dtype), _USM_TAPS // 2)
    padded = F.pad(reflected, (0, columns * block - width, 0, rows * block - height))

    horizontal = padded.new_empty(channels, padded.shape[1], columns * block)
    lines = padded.flatten(0, 1)
    blurred_lines = horizontal.view(-1, columns * block)
    for start in range(0, columns * block, block):
        source = lines[:, start : start + window]
        torch.mm(source, band, out=blurred_lines[:, start : start + block])
    both = padded.new_empty(channels, rows * block, columns * block)
    left = band.t().expand(channels, -1, -1)
    for start in range(0, rows * block, block):
        source = horizontal[:, start : start + window]
        torch.bmm(left, source, out=both[:, start : start + block])
    return both[:, :height, :width].to(x.dtype)


@lru_cache(maxsize=8)
def _gaussian_band(block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a matrix `(block + 50, block)`: column j holds a Gaussian of 51 taps from row j on."""
    # Standard deviation that OpenCV derives from the number of taps: 8 for 51 taps.
    sigma = 0.3 * ((_USM_TAPS - 1) / 2 - 1) + 0.8
    offset = torch.arange(_USM_TAPS, dtype=torch.float64) - _USM_TAPS // 2
    taps = torch.exp(-(offset**2) / (2 * sigma**2))
    taps /= taps.sum()
    position = torch.arange(block + _USM_TAPS - 1)[:, None] - torch.arange(block)[None, :]
    inside = (position >= 0) & (position < _USM_TAPS)
    return torch.where(inside, taps[position.clamp(0, _USM_TAPS - 1)], 0.0).to(device, dtype)


def unsharp_mask(x: Tensor) -> Tensor:
    """Sharpen `(C, H, W)` in [0, 1] where its detail exceeds a threshold, through a soft mask.

    This is the unsharp mask of Real-ESRGAN (arXiv 2107.10833). With g the Gaussian blur,
    r = x - g(x) and the mask m = [|r| > 10 / 255], the result is
    x + g(m) (clip(x + r / 2, 0, 1) - x).
    """
    residual = x - gaussian_blur(x)
    soft = gaussian_blur((residual.abs() > _USM_THRESHOLD).float())
    return torch.lerp(x, (x + _USM_WEIGHT * residual).clamp_(0, 1), soft)
