"""Grids of the Triton kernels: which program sees which tokens."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from lsr.ops.kernel_support import check_interpreter_dtype
from lsr.ops.modulated_norm import kernels

# Programs to aim at where each writes tokens alone, and where it leaves a partial sum behind: 8 and 4 for each of the 132 multiprocessors
# of an H200. Constants, not the device's own number: a sum is cut in the same places everywhere.
WRITING_PROGRAMS, SUMMING_PROGRAMS = 1056, 528
# A program's partial sums, two float32 tokens, are to be little beside the tokens that it reads and writes.
LEAST_SUMMED = 8


class Run(NamedTuple):
    """How tokens are shared out.

    Attributes:
        tokens: Tokens of one program.
        parts: Programs of one sample.
    """

    tokens: int
    parts: int


def run_of(x: Tensor, programs: int, least: int) -> Run:
    """Share the tokens of every sample among `programs` programs, but give each at least `least`."""
    samples, tokens, _ = x.shape
    run = max(triton.cdiv(tokens, max(programs // samples, 1)), least)
    return Run(run, triton.cdiv(tokens, run))


def constants_for(width: int) -> dict[str, Any]:
    """Compile-time constants of all kernels: channels rounded up to a power of two, and 16 of them for each thread."""
    padded = triton.next_power_of_2(width)
    return {"padded": padded, "num_warps": min(max(padded // 512, 1), 16)}


def rows(x: Tensor) -> Tensor:
    """`x` itself (B, 1, D) if its channels are neighbours in memory, else a copy where they are."""
    return x if x.stride(-1) == 1 else x.contiguous()


def forward(x: Tensor, shift: Tensor, scale: Tensor, eps: float, out: Tensor) -> None:
    """Write the output into `out`.

    Args:
        x: (B, N, D) with any strides; so are shift and scale.
        shift: (B, 1, D).
        scale: (B, 1, D).
        eps: Added to the variance.
        out: (B, N, D), contiguous.
    """
    check_interpreter_dtype(x, shift, scale)
    assert x.numel() > 0, f"shape {tuple(x.shape)}"
    samples, tokens, width = x.shape
    run = run_of(x, WRITING_PROGRAMS, 1)
    with torch.cuda.device_of(x):
        x, shift, scale = x.contiguous(), rows(shift), rows(scale)
        kernels.normalise_and_modulate[(samples, run.parts)](
            x, shift, scale, out, shift.stride(0), scale.stride(0), tokens, width, run.tokens, eps,
            **constants_for(width),
        )  # fmt: skip


def backward(
    grad: Tensor, x: Tensor, scale: Tensor, eps: float, dx: Tensor
) -> tuple[Tensor, Tensor]:
    """Write the gradient of `x` into `dx` and return those of shift and scale.

    Args:
        grad: Gradient of the output (B, N, D).
        x: As given to `forward`; so are scale and eps.
        scale: (B, 1, D).
        eps: Added to the variance.
        dx: (B, N, D), contiguous.

    Returns:
        Gradients of shift and scale, (B, 1, D) each, float32.
    """
    samples, tokens, width = x.shape
    run = run_of(x, SUMMING_PROGRAMS, LEAST_SUMMED)
    with torch.cuda.device_of(x):
        grad, x, scale = grad.contiguous(), x.contiguous(), rows(scale)
        sums = x.new_empty((2, run.parts, samples, width), dtype=torch.float32)
        kernels.grad_normalised[(samples, run.parts)](
            grad, x, scale, dx, sums, scale.stride(0), tokens, width, run.tokens, eps,
            **constants_for(width),
        )  # fmt: skip
        return sums[0].sum(0).unsqueeze(1), sums[1].sum(0).unsqueeze(1)
