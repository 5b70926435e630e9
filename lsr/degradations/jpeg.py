"""JPEG compression and decompression, 4:2:0, with a quality of its own for each image."""

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

# ITU-T T.81, tables K.1 and K.2.
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
# JFIF: rows give Y, Cb, Cr from R, G, B, and R, G, B from Cb, Cr.
_YCC: Matrix = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_RGB: Matrix = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))
# The same in libjpeg's 16 bit fractions: sums of 8 bit samples are exact in single precision, whatever the order.
_WHOLE_YCC: Matrix = tuple(
    tuple(k / 2**16 for k in row)
    for row in ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
)
_WHOLE_RGB: Matrix = tuple(
    tuple(k / 2**16 for k in row) for row in ((0, 91881), (-22554, -46802), (116130, 0))
)
_MAX_REAL_QUALITY = 99.99  # at 100 the real-valued tables vanish


def compress(
    x: Tensor, quality: Sequence[float], mode: str, extent: Extent | None = None
) -> Tensor:
    """Compress and decompress a batch.

    Args:
        x: `(B, 3, H, W)` float32 RGB in [0, 1].
        quality: B numbers from 1 to 100; "true" and "libjpeg" round them.
        mode: "true" computes what libjpeg computes (8 bit samples, whole-numbered tables, triangular chroma upsampling, edges continued)
            up to the rounding inside its cosine transform; "compat" is DiffJPEG as used by Real-ESRGAN (real-valued and, for the
            luma, transposed tables, nearest chroma, black beyond the edges, no rounding of samples); "libjpeg" is libjpeg.
        extent: sizes of the images when they are smaller than the canvas `(H, W)`; what lies outside is ignored and undefined.

    Returns:
        `(B, 3, H, W)` in [0, 1]; whole 8 bit levels for "true" and "libjpeg".

    Raises:
        ValueError: "libjpeg" for a tensor that is not on the CPU.
    """
    if mode == "libjpeg":
        if x.device.type != "cpu":
            raise ValueError('jpeg "libjpeg" runs on the CPU only; use "true" on other devices')
        return torch.stack([_libjpeg(image, q) for image, q in zip(x, quality, strict=True)])
    height, width = x.shape[-2:]
    padding = (0, -width % 16, 0, -height % 16)
    if mode == "compat":
        tables = torch.stack([_real_table(q, matmul_dtype(x.device)) for q in quality]).to(
            x.device, non_blocking=True
        )
        planes = _to_ycc(F.pad(blank_outside(x * 255, extent), padding), _YCC)
        luma, chroma = planes[:, 0], F.avg_pool2d(planes[:, 1:], 2)
        luma, chroma = _quantise(luma, chroma, tables, whole=False)
        chroma = chroma.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return (
            _to_rgb(luma, chroma, _RGB, whole=False)[..., :height, :width].clamp(0, 255).div_(255)
        )
    tables = torch.stack([_whole_table(_whole(q), matmul_dtype(x.device)) for q in quality]).to(
        x.device, non_blocking=True
    )
    samples = replicate_outside((x * 255).round_(), extent)
    planes = _to_ycc(F.pad(samples, padding, mode="replicate"), _WHOLE_YCC).add_(0.5).floor_()
    chroma = F.avg_pool2d(planes[:, 1:], 2, divisor_override=1)
    chroma[..., ::2] += 1
    chroma[..., 1::2] += 2
    chroma.mul_(0.25).floor_()
    luma, chroma = _quantise(planes[:, 0], chroma, tables, whole=True)
    if extent is None:
        chroma = chroma[..., : math.ceil(height / 2), : math.ceil(width / 2)]
    else:
        chroma = replicate_outside(chroma, extent.halved())
    rgb = _to_rgb(
        luma[..., :height, :width], _triangle(chroma)[..., :height, :width], _WHOLE_RGB, whole=True
    )
    return rgb.clamp_(0, 255).div_(255)


def _libjpeg(x: Tensor, quality: float) -> Tensor:
    """Compress one `(3, H, W)` image with Pillow's libjpeg."""
    from PIL import Image

    pixels = (x * 255).round_().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=_whole(quality), subsampling="4:2:0")
    decoded = torch.from_numpy(np.array(Image.open(stream)))
    return (
        decoded.permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    )


def _whole(quality: float) -> int:
    return min(max(round(quality), 1), 100)


@lru_cache(maxsize=200)
def _whole_table(quality: int, dtype: torch.dtype) -> Tensor:
    """Return libjpeg's luma and chroma tables: `(2, 64)`."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return (
        ((torch.tensor([LUMA_TABLE, CHROMA_TABLE]).flatten(1) * percent + 50) // 100)
        .clamp_(1, 255)
        .to(dtype)
    )


def _real_table(quality: float, dtype: torch.dtype) -> Tensor:
    """Return DiffJPEG's tables, the luma transposed, neither rounded nor bounded: `(2, 64)`."""
    quality = min(quality, _MAX_REAL_QUALITY)
    return _real_base(dtype) * (50 / quality if quality < 50 else 2 - quality / 50)


@lru_cache(maxsize=2)
def _real_base(dtype: torch.dtype) -> Tensor:
    return (
        torch.stack([torch.tensor(LUMA_TABLE).t(), torch.tensor(CHROMA_TABLE)]).flatten(1).to(dtype)
    )


def _to_ycc(rgb: Tensor, rows: Matrix) -> Tensor:
    """Convert `(B, 3, H, W)` RGB in 8 bit levels to YCbCr."""
    r, g, b = rgb.unbind(1)
    out = torch.empty_like(rgb)
    for plane, (from_r, from_g, from_b) in enumerate(rows):
        torch.mul(r, from_r, out=out[:, plane]).add_(g, alpha=from_g).add_(b, alpha=from_b)
    out[:, 1:] += 128
    return out


def _to_rgb(luma: Tensor, chroma: Tensor, rows: Matrix, whole: bool) -> Tensor:
    """Convert `(B, H, W)` and `(B, 2, H, W)` to `(B, 3, H, W)` RGB, with the colour offsets rounded if `whole`."""
    cb, cr = (chroma - 128).unbind(1)
    offsets = torch.stack([(cb * from_cb).add_(cr, alpha=from_cr) for from_cb, from_cr in rows], 1)
    if whole:
        offsets.add_(0.5).floor_()
    return offsets.add_(luma[:, None])


def _triangle(chroma: Tensor) -> Tensor:
    """Upsample whole-numbered `(B, 2, H, W)` by two with the weights 3/4 and 1/4, rounding as libjpeg does."""
    batch, planes, height, width = chroma.shape
    padded = F.pad(chroma, (1, 1, 1, 1), mode="replicate")
    near = padded[..., 1:-1, :] * 3
    rows = torch.stack([near + padded[..., :-2, :], near + padded[..., 2:, :]], 3).view(
        batch, planes, 2 * height, width + 2
    )
    near = rows[..., 1:-1] * 3
    pixels = torch.stack([near + (rows[..., :-2] + 8), near + (rows[..., 2:] + 7)], 4)
    return pixels.mul_(1 / 16).floor_().view(batch, planes, 2 * height, 2 * width)


def _quantise(luma: Tensor, chroma: Tensor, tables: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
    """Transform 8 x 8 blocks, divide by the tables, round, and go back.

    Args:
        luma: `(B, H, W)`, sides multiples of 16.
        chroma: `(B, 2, H / 2, W / 2)`.
        tables: `(B, 2, 64)`.
        whole: round half away from zero and return 8 bit levels, as libjpeg does; otherwise round half to even and return the
            samples as they are.
    """
    batch, height, width = luma.shape
    count = height * width // 64
    forward, inverse = _cosine_transform(tables.dtype, tables.device)
    blocks = tables.new_empty(batch, count + count // 2, 64)
    luma_blocks, chroma_blocks = blocks.split((count, count // 2), 1)
    luma_blocks.view(batch, 1, height // 8, width // 8, 8, 8).copy_(_blocks(luma[:, None]))
    chroma_blocks.view(batch, 2, height // 16, width // 16, 8, 8).copy_(_blocks(chroma))
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
    luma, chroma = torch.empty_like(luma), torch.empty_like(chroma)
    _blocks(luma[:, None]).copy_(luma_blocks.view(batch, 1, height // 8, width // 8, 8, 8))
    _blocks(chroma).copy_(chroma_blocks.view(batch, 2, height // 16, width // 16, 8, 8))
    return luma, chroma


def _blocks(planes: Tensor) -> Tensor:
    """View `(B, P, H, W)` as `(B, P, H / 8, W / 8, 8, 8)`."""
    return planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)


@lru_cache(maxsize=4)
def _cosine_transform(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the matrices that take a row of 64 samples to its 64 coefficients and back."""
    frequency, position = torch.meshgrid(
        torch.arange(8.0, dtype=torch.float64),
        torch.arange(8.0, dtype=torch.float64),
        indexing="ij",
    )
    basis = torch.cos((2 * position + 1) * frequency * math.pi / 16) / 2
    basis[0] = math.sqrt(1 / 8)
    inverse = (
        torch.kron(basis, basis).round(decimals=15).to(device, dtype)
    )  # 1/8 is exact, so ties are ties on any machine
    return inverse.t().contiguous(), inverse
