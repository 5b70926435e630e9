"""Blur kernels in closed form, for a whole batch at once."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lsr.degradations.config import MAX_KERNEL_SIZE
from lsr.degradations.parameters import Kernel


def make_kernels(kernels: Sequence[Kernel | None], device: torch.device | str = "cpu") -> Tensor:
    """Return the blur kernels, each centred, zero outside of its own size and of sum 1; None gives the pulse.

    With q = v^T S^-1 v, S = R diag(sigma_x^2, sigma_y^2) R^T and v the offset from the centre, the families are exp(-q / 2),
    exp(-q^beta / 2) (generalized; Liu et al., "Estimating generalized Gaussian blur kernels", 2020) and 1 / (1 + q^beta)
    (plateau). The sinc is the circular ideal low-pass w J1(w r) / (2 pi r).

    Returns:
        `(B, 21, 21)` float32 on `device`.
    """
    table = torch.tensor([_row(kernel) for kernel in kernels], dtype=torch.float64).to(
        device, non_blocking=True
    )
    kind, half, inverse_x, inverse_y, cosine, sine, beta, cutoff = table[:, :, None, None].unbind(1)
    x, y, radius, distance = _grid(torch.device(device))
    u = (cosine * x + sine * y) * inverse_x
    v = (cosine * y - sine * x) * inverse_y
    power = (u * u + v * v).pow(beta)
    values = torch.where(kind == _PLATEAU, 1 / (1 + power), torch.exp(-0.5 * power))
    if any(kernel is not None and kernel.family == "sinc" for kernel in kernels):
        sinc = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
        values = torch.where(
            kind == _SINC, torch.where(distance == 0, cutoff * cutoff / (4 * math.pi), sinc), values
        )
    values = values * (distance <= half)
    return (values / values.sum((1, 2), keepdim=True)).float()


@lru_cache(maxsize=4)
def _grid(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, y, the radius (1 at the centre, to divide by) and the chessboard distance of a 21 x 21 grid."""
    half = MAX_KERNEL_SIZE // 2
    axis = torch.arange(-half, half + 1, dtype=torch.float64, device=device)
    y, x = (grid.contiguous() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    distance = torch.maximum(x.abs(), y.abs())
    return x, y, torch.where(distance == 0, 1.0, torch.hypot(x, y)), distance


_GAUSSIAN, _PLATEAU, _SINC = 0.0, 1.0, 2.0


def _row(kernel: Kernel | None) -> tuple[float, ...]:
    """Return (kind, half size, 1 / sigma_x, 1 / sigma_y, cos, sin, beta, cutoff)."""
    if kernel is None:
        return (_GAUSSIAN, 0, 1, 1, 1, 0, 1, 0)
    kind = (
        _SINC
        if kernel.family == "sinc"
        else _PLATEAU
        if kernel.family.startswith("plateau")
        else _GAUSSIAN
    )
    return (
        kind,
        kernel.size // 2,
        1 / kernel.sigma_x,
        1 / kernel.sigma_y,
        math.cos(kernel.theta),
        math.sin(kernel.theta),
        kernel.beta,
        kernel.cutoff,
    )
