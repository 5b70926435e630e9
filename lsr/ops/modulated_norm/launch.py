"""Choose the grids of the Triton kernels of the modulated norm and launch them."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from lsr.ops.kernel_support import check_interpreter_dtype
from lsr.ops.modulated_norm import kernels

# Number of programs to launch if there are enough tokens: 8 for each of the 132 multiprocessors of
# an H200 in the kernel that only writes tokens, 4 in the kernel that also writes partial sums.
# Constants instead of the number of multiprocessors of the device: then every GPU cuts a sum in the
# same places.
WRITING_PROGRAMS = 1056
SUMMING_PROGRAMS = 528
# Least number of tokens per partial sum: writing the sums, two float32 tokens, shall cost little
# compared with the tokens that the program reads and writes.
LEAST_SUMMED = 8


class Run(NamedTuple):
    """Division of the tokens of a sample into runs, one for each program.

    Attributes:
        tokens: Number of tokens of one program.
        parts: Number of programs of one sample.
    """

    tokens: int
    parts: int


def run_of(x: Tensor, programs: int, least: int) -> Run:
    """Divide the tokens of all samples among `programs` programs, but at least `least` for each."""
    samples, tokens, _ = x.shape
    run = max(triton.cdiv(tokens, max(programs // samples, 1)), least)
    return Run(run, triton.cdiv(tokens, run))


def constants_for(width: int) -> dict[str, Any]:
    """Return the compile-time constants of all kernels: padded width and number of warps."""
    padded = triton.next_power_of_2(width)
    # 512 channels per warp of 32 threads are 16 registers per thread and token.
    return {"padded": padded, "num_warps": min(max(padded // 512, 1), 16)}


def rows(x: Tensor) -> Tensor:
    """Return `x` (B, 1, D) if its channels are neighbours in memory, else a contiguous copy."""
    return x if x.stride(-1) == 1 else x.contiguous()


def forward(x: Tensor, shift: Tensor, scale: Tensor, eps: float, out: Tensor) -> None:
    """Write the output into `out`.

    Args:
        x: Tokens (B, N, D) with any strides.
        shift: Shift of each sample (B, 1, D) with any strides.
        scale: Scale of each sample (B, 1, D) with any strides.
        eps: Number added to the variance.
        out: Memory for the output (B, N, D), contiguous.
    """
    check_interpreter_dtype(x, shift, scale)
    assert x.numel() > 0, f"x must not be empty, but is {tuple(x.shape)}"
    samples, tokens, width = x.shape
    run = run_of(x, WRITING_PROGRAMS, 1)
    with torch.cuda.device_of(x):
        x = x.contiguous()
        shift = rows(shift)
        scale = rows(scale)
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
        x: The tokens (B, N, D) that `forward` was called with.
        scale: The scale (B, 1, D) that `forward` was called with.
        eps: The same number as in `forward`.
        dx: Memory for the gradient of x (B, N, D), contiguous.

    Returns:
        Gradients of shift and scale, (B, 1, D) each, float32.
    """
    samples, tokens, width = x.shape
    run = run_of(x, SUMMING_PROGRAMS, LEAST_SUMMED)
    with torch.cuda.device_of(x):
        grad = grad.contiguous()
        x = x.contiguous()
        scale = rows(scale)
        sums = x.new_empty((2, run.parts, samples, width), dtype=torch.float32)
        kernels.grad_normalised[(samples, run.parts)](
            grad, x, scale, dx, sums, scale.stride(0), tokens, width, run.tokens, eps,
            **constants_for(width),
        )  # fmt: skip
        return sums[0].sum(0).unsqueeze(1), sums[1].sum(0).unsqueeze(1)
