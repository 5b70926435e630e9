"""Blur kernels in closed form, for a whole batch at once."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lsr.degradations.config import MAX_KERNEL_SIZE
from lsr.degradations.parameters import Kernel

_GAUSSIAN, _PLATEAU, _SINC = 0.0, 1.0, 2.0


def make_kernels(kernels: Sequence[Kernel | None], device: torch.device | str = "cpu") -> Tensor:
    """Return blur kernels: each is centred, zero outside of its own size, and sums to 1.

    The formulas are those of Real-ESRGAN (arXiv 2107.10833). With v the offset from the centre,
    S = R diag(sigma_x^2, sigma_y^2) R^T, R the rotation by theta, and q = v^T S^-1 v, a kernel is
    proportional to

        Gaussian (iso, aniso)   exp(-q / 2)
        generalized Gaussian    exp(-q^beta / 2)     Liu et al., "Estimating generalized Gaussian
                                                     blur kernels", 2020
        plateau                 1 / (1 + q^beta)
        sinc                    w J1(w r) / (2 pi r) circular ideal low-pass of cut-off w; r = |v|

    Args:
        kernels: Parameters of B kernels; None gives the kernel that does not blur.
        device: Device of the result.

    Returns:
        Kernels `(B, 21, 21)` float32.
    """
    rows = torch.tensor([_row(kernel) for kernel in kernels], dtype=torch.float64)
    table = rows.to(device, non_blocking=True)
    kind, half, inverse_x, inverse_y, cosine, sine, beta, cutoff = table[:, :, None, None].unbind(1)
    x, y, radius, distance = _grid(torch.device(device))
    u = (cosine * x + sine * y) * inverse_x
    v = (cosine * y - sine * x) * inverse_y
    power = (u * u + v * v).pow(beta)
    values = torch.where(kind == _PLATEAU, 1 / (1 + power), torch.exp(-0.5 * power))
    if any(kernel is not None and kernel.family == "sinc" for kernel in kernels):
        sinc = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
        # J1(z) is about z / 2 for small z: the limit at the centre is w^2 / (4 pi).
        sinc = torch.where(distance == 0, cutoff * cutoff / (4 * math.pi), sinc)
        values = torch.where(kind == _SINC, sinc, values)
    values = values * (distance <= half)
    return (values / values.sum((1, 2), keepdim=True)).float()


@lru_cache(maxsize=4)
def _grid(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return four maps of a 21 x 21 grid whose origin is its centre.

    They are x, y, the radius (1 instead of 0 at the centre, because it is a divisor), and the
    chessboard distance max(|x|, |y|).
    """
    half = MAX_KERNEL_SIZE // 2
    axis = torch.arange(-half, half + 1, dtype=torch.float64, device=device)
    y, x = (grid.contiguous() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    distance = torch.maximum(x.abs(), y.abs())
    return x, y, torch.where(distance == 0, 1.0, torch.hypot(x, y)), distance


def _row(kernel: Kernel | None) -> tuple[float, ...]:
    """Return (kind, half size, 1 / sigma_x, 1 / sigma_y, cos, sin, beta, cutoff) of a kernel."""
    if kernel is None:
        return (_GAUSSIAN, 0, 1, 1, 1, 0, 1, 0)
    return (
        _kind(kernel.family),
        kernel.size // 2,
        1 / kernel.sigma_x,
        1 / kernel.sigma_y,
        math.cos(kernel.theta),
        math.sin(kernel.theta),
        kernel.beta,
        kernel.cutoff,
    )


def _kind(family: str) -> float:
    if family == "sinc":
        return _SINC
    # A Gaussian is a generalized Gaussian with beta = 1.
    return _PLATEAU if family.startswith("plateau") else _GAUSSIAN
