"""Tiles and grids of the Triton kernels: which program sees which heads and tokens."""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lsr.ops.kernel_support import check_interpreter_dtype
from lsr.ops.linear_attention import kernels

# Programs to aim at where each leaves a partial sum behind, and where it leaves nothing: 2 and 4 for each of the 132 multiprocessors
# of an H200. Constants, not the device's own number: a sum is cut in the same places everywhere.
SUMMING_PROGRAMS, WRITING_PROGRAMS = 264, 528
# Every program of the next kernel reads all partial sums of its heads.
MOST_PARTS = 16


class Tiling(NamedTuple):
    """How one kernel program is cut.

    Attributes:
        heads: Neighbouring heads in one tile; a power of two.
        block: Tokens of one step.
        warps: Warps of a program.
        stages: Steps whose loads are in flight.
        together: Gradients of k and v in one launch; in two where shared memory does not hold the operands of both.
        parts: Exactly so many partial sums if there are as many blocks, instead of as many as fill a GPU.
    """

    heads: int
    block: int
    warps: int
    stages: int
    together: bool = True
    parts: int | None = None

    @property
    def launches_of_keys_values(self) -> list[dict[str, Any]]:
        """Which gradients each launch of `grad_keys_values` computes."""
        if self.together:
            return [{"keys": True, "values": True}]
        return [{"keys": True, "values": False}, {"keys": False, "values": True}]


def tiling_for(dim: int, operand: torch.dtype) -> Tiling:
    """Tile of 64 columns where heads are small: two heads of 32 make whole cache lines and fill a Hopper matrix instruction.

    float32 operands are cut into two TF32 numbers each, four times the room of a half-precision one: smaller tiles.
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
    """Type of the matrix operands: that of the inputs, or of v if it is bfloat16, whose range is that of float32."""
    return (
        v.dtype
        if v.dtype in (q.dtype, torch.bfloat16) and v.dtype in (k.dtype, torch.bfloat16)
        else torch.float32
    )


class Launch:
    """Sizes and compile-time constants that all kernels of one call share."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, tiling: Tiling | None) -> None:
        check_interpreter_dtype(q, k, v)
        assert q.shape == k.shape == v.shape and q.numel() > 0, (
            f"shapes {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
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
        """Tokens of one program when whole blocks are shared out among `parts` programs."""
        return triton.cdiv(self.blocks, min(parts, self.blocks)) * self.tiling.block

    def state(self, like: Tensor, parts: int = 1) -> tuple[Tensor, Tensor]:
        """Uninitialised S (parts * B, A, E, E) and z (parts * B, A, E), float32."""
        shape = (parts * self.samples, self.heads, self.dim)
        return like.new_empty((*shape, self.dim), dtype=torch.float32), like.new_empty(
            shape, dtype=torch.float32
        )


def strides(x: Tensor) -> tuple[int, int, int]:
    """Of samples, tokens and heads."""
    return x.stride(0), x.stride(1), x.stride(2)


def rows(x: Tensor) -> Tensor:
    """`x` itself if the channels of a head are neighbours in memory, else a copy where they are."""
    return x if x.stride(-1) == 1 else x.contiguous()


def forward(
    q: Tensor, k: Tensor, v: Tensor, eps: float, o: Tensor, tiling: Tiling | None = None
) -> tuple[Tensor, Tensor]:
    """Write the output into `o` (B, N, A, E) and return what backward needs beside it.

    Args:
        q: Queries (B, N, A, E) with any strides; so are k, v and o.
        k: Keys.
        v: Values.
        eps: Added to the denominator.
        o: Receives the output; its last dimension is contiguous.
        tiling: None for the one of `tiling_for`.

    Returns:
        S (B, A, E, E) and z (B, A, E), float32.
    """
    run = Launch(q, k, v, tiling)
    q, k, v = rows(q), rows(k), rows(v)
    with torch.cuda.device_of(q):
        s_parts, z_parts = run.state(q, run.parts)
        s, z = run.state(q)
        kernels.sum_keys_values[run.summing_grid](
            k, v, s_parts, z_parts, *strides(k), *strides(v),
            run.tokens, run.heads, run.summing_chunk, 1 / run.tokens, **run.constants,
        )  # fmt: skip
        kernels.attend[run.writing_grid](
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
        inputs: q, k, v as given to `forward`.
        saved: o, S, z of `forward`.
        eps: As given to `forward`.
        grads: Receive the gradients, (B, N, A, E) each, the last dimension contiguous.
        tiling: None for the one of `tiling_for`.
    """
    q, k, v = inputs
    run = Launch(q, k, v, tiling)
    q, k, v, grad = rows(q), rows(k), rows(v), rows(grad)
    o, s, z = saved
    dq, dk, dv = grads
    with torch.cuda.device_of(q):
        ds_parts, dz_parts = run.state(q, run.parts)
        kernels.grad_queries[run.summing_grid](
            q, o, grad, s, z, dq, ds_parts, dz_parts,
            *strides(q), *strides(o), *strides(grad), *strides(dq),
            run.tokens, run.heads, run.summing_chunk, eps, **run.constants,
        )  # fmt: skip
        for gradients in run.tiling.launches_of_keys_values:
            kernels.grad_keys_values[run.writing_grid](
                k, v, ds_parts, dz_parts, dk, dv,
                *strides(k), *strides(v), *strides(dk), *strides(dv),
                run.tokens, run.heads, run.writing_chunk, run.parts, 1 / run.tokens, **run.constants, **gradients,
            )  # fmt: skip
