"""Choose the tiles and grids of the Triton kernels of linear attention and launch them."""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lsr.ops.kernel_support import check_interpreter_dtype
from lsr.ops.linear_attention import backward_kernels, forward_kernels

# Number of programs to launch if there are enough tokens: 2 for each of the 132 multiprocessors of
# an H200 in kernels that write partial sums, 4 in kernels that do not. Constants instead of the
# number of multiprocessors of the device: then every GPU cuts a sum in the same places.
SUMMING_PROGRAMS = 264
WRITING_PROGRAMS = 528
# Upper limit of the partial sums per head: every program of the next kernel reads all of them.
MOST_PARTS = 16


class Tiling(NamedTuple):
    """Size of the tiles of one kernel program.

    Attributes:
        heads: Number of neighbouring heads in one tile; a power of two.
        block: Number of tokens in one tile, which is one step of a program's loop.
        warps: Number of warps of a program.
        stages: Number of steps whose loads are in flight at the same time.
        together: Whether one launch computes the gradients of k and v. Two launches are needed
            where shared memory does not hold the operands of both.
        parts: Number of partial sums, at most one per block. None takes as many as fill a GPU.
    """

    heads: int
    block: int
    warps: int
    stages: int
    together: bool = True
    parts: int | None = None

    @property
    def launches_of_keys_values(self) -> list[dict[str, Any]]:
        """The arguments `keys` and `values` of each launch of `grad_keys_values`."""
        if self.together:
            return [{"keys": True, "values": True}]
        return [{"keys": True, "values": False}, {"keys": False, "values": True}]


def tiling_for(dim: int, operand: torch.dtype) -> Tiling:
    """Return the tiling for a head dimension and a type of matrix operands.

    Small heads share a tile of 64 columns: two heads of 32 make whole cache lines and fill a matrix
    instruction of Hopper. float32 operands are split into two TF32 numbers each, which take four
    times the shared memory of one half-precision number: their tiles are smaller.
    """
    padded = triton.next_power_of_2(dim)
    if operand == torch.float32:
        width = max(padded, 32)
        return Tiling(
            width // padded, 2048 // width, 4 if width == 32 else 8, 1, together=width < 128
        )
    width = max(padded, 64)
    return Tiling(width // padded, 64, 8, 2)


def operand_type(q: Tensor, k: Tensor, v: Tensor) -> torch.dtype:
    """Return the type of the matrix operands, which must hold the range of all inputs.

    It is the type of the inputs if they share one, bfloat16 (which has the range of float32) if v
    is bfloat16, and float32 otherwise.
    """
    if v.dtype == torch.bfloat16 or q.dtype == k.dtype == v.dtype:
        return v.dtype
    return torch.float32


class Launch:
    """Sizes, grids and compile-time constants that all kernels of one call share."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, tiling: Tiling | None) -> None:
        check_interpreter_dtype(q, k, v)
        assert q.shape == k.shape == v.shape and q.numel() > 0, (
            f"q, k and v must have one shape and not be empty, "
            f"not {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        )
        self.samples, self.tokens, self.heads, self.dim = q.shape
        operand = operand_type(q, k, v)
        self.tiling = tiling or tiling_for(self.dim, operand)
        self.tiles = self.samples * triton.cdiv(self.heads, self.tiling.heads)
        self.blocks = triton.cdiv(self.tokens, self.tiling.block)
        summing = min(max(SUMMING_PROGRAMS // self.tiles, 1), MOST_PARTS)
        self.summing_chunk = self.chunk(self.tiling.parts or summing)
        self.writing_chunk = self.chunk(max(WRITING_PROGRAMS // self.tiles, 1))
        self.parts = triton.cdiv(self.tokens, self.summing_chunk)
        self.summing_grid = (self.tiles, self.parts)
        self.writing_grid = (self.tiles, triton.cdiv(self.tokens, self.writing_chunk))
        self.constants: dict[str, Any] = {
            "heads": self.tiling.heads,
            "dim": self.dim,
            "padded": triton.next_power_of_2(self.dim),
            "block": self.tiling.block,
            "operand": getattr(tl, str(operand).removeprefix("torch.")),
            "num_warps": self.tiling.warps,
            "num_stages": self.tiling.stages,
        }

    def chunk(self, parts: int) -> int:
        """Return the number of tokens of one program if `parts` programs share the blocks."""
        return triton.cdiv(self.blocks, min(parts, self.blocks)) * self.tiling.block

    def state(self, like: Tensor, parts: int = 1) -> tuple[Tensor, Tensor]:
        """Return uninitialised S (parts * B, A, E, E) and z (parts * B, A, E), float32."""
        shape = (parts * self.samples, self.heads, self.dim)
        s = like.new_empty((*shape, self.dim), dtype=torch.float32)
        z = like.new_empty(shape, dtype=torch.float32)
        return s, z


def strides(x: Tensor) -> tuple[int, int, int]:
    """Return the strides of samples, tokens and heads; that of channels is 1, see `rows`."""
    return x.stride(0), x.stride(1), x.stride(2)


def rows(x: Tensor) -> Tensor:
    """Return `x` if the channels of a head are neighbours in memory, else a contiguous copy."""
    return x if x.stride(-1) == 1 else x.contiguous()


def forward(
    q: Tensor, k: Tensor, v: Tensor, eps: float, o: Tensor, tiling: Tiling | None = None
) -> tuple[Tensor, Tensor]:
    """Write the output into `o` and return the state, which the backward pass reads.

    Args:
        q: Queries (B, N, A, E) with any strides.
        k: Keys (B, N, A, E) with any strides.
        v: Values (B, N, A, E) with any strides.
        eps: Number added to the denominator.
        o: Memory for the output (B, N, A, E); its last dimension is contiguous.
        tiling: Size of the tiles; None takes that of `tiling_for`.

    Returns:
        S (B, A, E, E) and z (B, A, E), float32.
    """
    run = Launch(q, k, v, tiling)
    q, k, v = rows(q), rows(k), rows(v)
    with torch.cuda.device_of(q):
        s_parts, z_parts = run.state(q, run.parts)
        s, z = run.state(q)
        forward_kernels.sum_keys_values[run.summing_grid](
            k, v, s_parts, z_parts, *strides(k), *strides(v),
            run.tokens, run.heads, run.summing_chunk, 1 / run.tokens, **run.constants,
        )  # fmt: skip
        forward_kernels.attend[run.writing_grid](
            q, s_parts, z_parts, o, s, z, *strides(q), *strides(o),
            run.tokens, run.heads, run.writing_chunk, run.parts, eps, **run.constants,
        )  # fmt: skip
    return s, z


def backward(
    grad: Tensor,
    inputs: tuple[Tensor, ...],
    saved: tuple[Tensor, Tensor, Tensor],
    eps: float,
    grads: tuple[Tensor, ...],
    tiling: Tiling | None = None,
) -> None:
    """Write the gradients of q, k and v into `grads`.

    Args:
        grad: Gradient of the output (B, N, A, E).
        inputs: The q, k and v that `forward` was called with.
        saved: The output o, S and z of `forward`.
        eps: The same number as in `forward`.
        grads: Memory for the three gradients, (B, N, A, E) each; the last dimension is contiguous.
        tiling: Size of the tiles; None takes that of `tiling_for`.
    """
    q, k, v = inputs
    run = Launch(q, k, v, tiling)
    q, k, v = rows(q), rows(k), rows(v)
    grad = rows(grad)
    o, s, z = saved
    dq, dk, dv = grads
    with torch.cuda.device_of(q):
        ds_parts, dz_parts = run.state(q, run.parts)
        backward_kernels.grad_queries[run.summing_grid](
            q, o, grad, s, z, dq, ds_parts, dz_parts,
            *strides(q), *strides(o), *strides(grad), *strides(dq),
            run.tokens, run.heads, run.summing_chunk, eps, **run.constants,
        )  # fmt: skip
        for gradients in run.tiling.launches_of_keys_values:
            backward_kernels.grad_keys_values[run.writing_grid](
                k, v, ds_parts, dz_parts, dk, dv,
                *strides(k), *strides(v), *strides(dk), *strides(dv),
                run.tokens, run.heads, run.writing_chunk, run.parts, 1 / run.tokens,
                **run.constants, **gradients,
            )  # fmt: skip
