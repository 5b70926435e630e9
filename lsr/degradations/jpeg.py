"""JPEG compression and decompression of a batch; each image has its own quality."""

import io
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.degradations.canvas import Extent, blank_outside, replicate_outside
from lsr.degradations.precision import matmul_dtype

# Quantisation tables K.1 and K.2 of ITU-T T.81.
LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)
Matrix = tuple[tuple[float, ...], ...]
# Colour conversion of JFIF. Rows of the first matrix give Y, Cb, Cr from R, G, B. Rows of the
# second give, from Cb and Cr, the offsets of R, G, B from Y.
_YCC: Matrix = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_RGB: Matrix = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))
# The same matrices in the 16-bit fractions of libjpeg. With them, sums of 8-bit samples are exact
# in single precision, in any order.
_WHOLE_YCC: Matrix = tuple(
    tuple(k / 2**16 for k in row)
    for row in ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
)
_WHOLE_RGB: Matrix = tuple(
    tuple(k / 2**16 for k in row) for row in ((0, 91881), (-22554, -46802), (116130, 0))
)

# At quality 100 the tables of real numbers are zero, and a division by them gives NaN.
_MAX_REAL_QUALITY = 99.99


def compress(
    x: Tensor, quality: Sequence[float], mode: str, extent: Extent | None = None
) -> Tensor:
    """Compress and decompress a batch, with chroma subsampling 4:2:0.

    Args:
        x: RGB images `(B, 3, H, W)`, float32 in [0, 1].
        quality: Quality of each image, 1 to 100; "true" and "libjpeg" round it.
        mode: Implementation, one of three. "true" computes what libjpeg computes, up to the
            rounding inside of its cosine transform: samples of 8 bits, tables of whole numbers,
            triangular chroma upsampling, edges continued. "compat" is DiffJPEG as Real-ESRGAN uses
            it: tables of real numbers, the luma table transposed, chroma upsampled by nearest
            neighbour, black beyond the edges, samples not rounded. "libjpeg" is libjpeg itself.
        extent: Sizes of the images if they are smaller than the canvas `(H, W)`. What lies outside
            of them has no influence, and the result there is undefined.

    Returns:
        Images `(B, 3, H, W)` in [0, 1]; "true" and "libjpeg" return whole 8-bit levels.

    Raises:
        ValueError: The mode is "libjpeg" and the images are not on the CPU.
    """
    if mode == "libjpeg":
        if x.device.type != "cpu":
            raise ValueError('jpeg "libjpeg" runs on the CPU only; use "true" on other devices')
        return torch.stack([_libjpeg(image, q) for image, q in zip(x, quality, strict=True)])
    return _diffjpeg(x, quality, extent) if mode == "compat" else _true(x, quality, extent)


def _diffjpeg(x: Tensor, quality: Sequence[float], extent: Extent | None) -> Tensor:
    height, width = x.shape[-2:]
    tables = torch.stack([_real_table(q, matmul_dtype(x.device)) for q in quality])
    tables = tables.to(x.device, non_blocking=True)
    planes = _to_ycc(F.pad(blank_outside(x * 255, extent), _padding(height, width)), _YCC)
    chroma = F.avg_pool2d(planes[:, 1:], 2)
    luma, chroma = _quantise(planes[:, 0], chroma, tables, whole=False)
    chroma = chroma.repeat_interleave(2, -1).repeat_interleave(2, -2)
    rgb = _to_rgb(luma, chroma, _RGB, whole=False)[..., :height, :width]
    return rgb.clamp(0, 255).div_(255)


def _true(x: Tensor, quality: Sequence[float], extent: Extent | None) -> Tensor:
    height, width = x.shape[-2:]
    tables = torch.stack([_whole_table(_whole(q), matmul_dtype(x.device)) for q in quality])
    tables = tables.to(x.device, non_blocking=True)
    samples = replicate_outside((x * 255).round_(), extent)
    padded = F.pad(samples, _padding(height, width), mode="replicate")
    planes = _to_ycc(padded, _WHOLE_YCC).add_(0.5).floor_()
    luma, chroma = _quantise(planes[:, 0], _halve(planes[:, 1:]), tables, whole=True)
    if extent is None:
        chroma = chroma[..., : math.ceil(height / 2), : math.ceil(width / 2)]
    else:
        chroma = replicate_outside(chroma, extent.halved())
    chroma = _triangle(chroma)[..., :height, :width]
    rgb = _to_rgb(luma[..., :height, :width], chroma, _WHOLE_RGB, whole=True)
    return rgb.clamp_(0, 255).div_(255)


def _padding(height: int, width: int) -> tuple[int, int, int, int]:
    """Return the padding to multiples of 16 pixels: 8 x 8 blocks of subsampled chroma."""
    return 0, -width % 16, 0, -height % 16


def _halve(chroma: Tensor) -> Tensor:
    """Average 2 x 2 samples `(B, 2, H, W)` as libjpeg does.

    It adds 1 and 2 to the sums in alternate columns before it divides by 4 and rounds down, so that
    halves are rounded down and up in turn.
    """
    halved = F.avg_pool2d(chroma, 2, divisor_override=1)
    halved[..., ::2] += 1
    halved[..., 1::2] += 2
    return halved.mul_(0.25).floor_()


def _libjpeg(x: Tensor, quality: float) -> Tensor:
    """Compress and decompress one image `(3, H, W)` with the libjpeg of Pillow."""
    from PIL import Image

    pixels = (x * 255).round_().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_whole(quality), subsampling="4:2:0")
    decoded = torch.from_numpy(np.array(Image.open(stream)))
    image = decoded.permute(2, 0, 1)
    return image.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _whole(quality: float) -> int:
    return min(max(round(quality), 1), 100)


@lru_cache(maxsize=200)
def _whole_table(quality: int, dtype: torch.dtype) -> Tensor:
    """Return the luma and the chroma table of libjpeg, scaled to a quality: `(2, 64)`."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = torch.tensor([LUMA_TABLE, CHROMA_TABLE]).flatten(1)
    return ((base * percent + 50) // 100).clamp_(1, 255).to(dtype)


def _real_table(quality: float, dtype: torch.dtype) -> Tensor:
    """Return the luma and the chroma table of DiffJPEG, neither rounded nor bounded: `(2, 64)`."""
    quality = min(quality, _MAX_REAL_QUALITY)
    return _real_base(dtype) * (50 / quality if quality < 50 else 2 - quality / 50)


@lru_cache(maxsize=2)
def _real_base(dtype: torch.dtype) -> Tensor:
    transposed = torch.tensor(LUMA_TABLE).t()  # as in DiffJPEG
    return torch.stack([transposed, torch.tensor(CHROMA_TABLE)]).flatten(1).to(dtype)


def _to_ycc(rgb: Tensor, rows: Matrix) -> Tensor:
    """Convert RGB `(B, 3, H, W)` in 8-bit levels to YCbCr, by the matrix `rows`."""
    r, g, b = rgb.unbind(1)
    out = torch.empty_like(rgb)
    for plane, (from_r, from_g, from_b) in enumerate(rows):
        torch.mul(r, from_r, out=out[:, plane]).add_(g, alpha=from_g).add_(b, alpha=from_b)
    out[:, 1:] += 128
    return out


def _to_rgb(luma: Tensor, chroma: Tensor, rows: Matrix, whole: bool) -> Tensor:
    """Convert YCbCr in 8-bit levels to RGB.

    Args:
        luma: Y `(B, H, W)`.
        chroma: Cb and Cr `(B, 2, H, W)`.
        rows: Matrix that gives the offsets of R, G, B from Y.
        whole: Whether to round these offsets, as libjpeg does.

    Returns:
        RGB `(B, 3, H, W)`.
    """
    cb, cr = (chroma - 128).unbind(1)
    offsets = torch.stack([(cb * from_cb).add_(cr, alpha=from_cr) for from_cb, from_cr in rows], 1)
    if whole:
        offsets.add_(0.5).floor_()
    return offsets.add_(luma[:, None])


def _triangle(chroma: Tensor) -> Tensor:
    """Double the size of `(B, 2, H, W)` with weights 3/4 and 1/4, rounding as libjpeg does.

    The input holds whole numbers. Rows and columns are summed with the weights 3 and 1; the final
    division by 16 rounds with 8 for left pixels and 7 for right pixels.
    """
    batch, planes, height, width = chroma.shape
    padded = F.pad(chroma, (1, 1, 1, 1), mode="replicate")
    near = padded[..., 1:-1, :] * 3
    rows = torch.stack([near + padded[..., :-2, :], near + padded[..., 2:, :]], 3)
    rows = rows.view(batch, planes, 2 * height, width + 2)
    near = rows[..., 1:-1] * 3
    pixels = torch.stack([near + (rows[..., :-2] + 8), near + (rows[..., 2:] + 7)], 4)
    return pixels.mul_(1 / 16).floor_().view(batch, planes, 2 * height, 2 * width)


def _quantise(luma: Tensor, chroma: Tensor, tables: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
    """Quantise the cosine transform of all 8 x 8 blocks, and transform back.

    Args:
        luma: Y `(B, H, W)` in 8-bit levels, sides multiples of 16.
        chroma: Cb and Cr `(B, 2, H / 2, W / 2)` in 8-bit levels.
        tables: Quantisation tables of luma and chroma `(B, 2, 64)`.
        whole: True rounds halves away from zero and returns whole 8-bit levels, as libjpeg does.
            False rounds halves to even and does not round the result.

    Returns:
        Luma and chroma, of the shapes of the inputs.
    """
    batch, height, width = luma.shape
    count = height * width // 64
    forward, inverse = _cosine_transform(tables.dtype, tables.device)
    blocks = tables.new_empty(batch, count + count // 2, 64)
    luma_blocks, chroma_blocks = blocks.split((count, count // 2), 1)
    luma_view = luma_blocks.view(batch, 1, height // 8, width // 8, 8, 8)
    chroma_view = chroma_blocks.view(batch, 2, height // 16, width // 16, 8, 8)
    luma_view.copy_(_blocks(luma[:, None]))
    chroma_view.copy_(_blocks(chroma))
    coefficients = torch.matmul(blocks.sub_(128), forward)
    parts = list(zip(coefficients.split((count, count // 2), 1), tables.split(1, 1), strict=True))
    for part, table in parts:
        part.div_(table)
    if whole:
        coefficients.add_(coefficients.sign(), alpha=0.5).trunc_()
    else:
        coefficients.round_()
    for part, table in parts:
        part.mul_(table)
    torch.matmul(coefficients, inverse, out=blocks).add_(128)
    if whole:
        blocks.round_().clamp_(0, 255)
    luma = torch.empty_like(luma)
    chroma = torch.empty_like(chroma)
    _blocks(luma[:, None]).copy_(luma_view)
    _blocks(chroma).copy_(chroma_view)
    return luma, chroma


def _blocks(planes: Tensor) -> Tensor:
    """Return a view of `(B, P, H, W)` as `(B, P, H / 8, W / 8, 8, 8)`."""
    return planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)


@lru_cache(maxsize=4)
def _cosine_transform(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the cosine transform of a block of 8 x 8 samples and its inverse.

    This is the orthonormal two-dimensional cosine transform of ITU-T T.81, section A.3.3.

    Returns:
        Two matrices (64, 64). The 64 samples of a block, as a row vector, times the first matrix
        are its 64 coefficients; these times the second matrix are the samples again.
    """
    frequency, position = torch.meshgrid(
        torch.arange(8.0, dtype=torch.float64),
        torch.arange(8.0, dtype=torch.float64),
        indexing="ij",
    )
    basis = torch.cos((2 * position + 1) * frequency * math.pi / 16) / 2
    basis[0] = math.sqrt(1 / 8)
    # Rounded so that 1/8 is exact: a quotient that lies halfway does so on every machine.
    inverse = torch.kron(basis, basis).round(decimals=15).to(device, dtype)
    return inverse.t().contiguous(), inverse
