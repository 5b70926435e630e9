"""Tiles and grids of the Triton kernels: which program sees which strip and channels."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from lsr.ops.glu_conv import kernels
from lsr.ops.kernel_support import check_interpreter_dtype

# Programs to aim at where each leaves partial sums behind: 8 for each of the 132 multiprocessors of an H200, so that the loads of some
# hide those of others. A constant, not the device's own number: a sum is cut in the same places everywhere.
SUMMING_PROGRAMS = 1056


class Tiling(NamedTuple):
    """How the kernels are cut.

    Attributes:
        rows: Rows of a strip; the two rows around it are read for it alone.
        width: Columns of a strip.
        channels: Channels of a program; 64 are whole cache lines in half precision.
        warps: Warps of a program.
        parts: At most so many partial sums, instead of as many as fill a GPU.
    """

    rows: int = 16
    width: int = 8
    channels: int = 64
    warps: int = 4
    parts: int | None = None


class Launch:
    """Sizes and compile-time constants that all kernels of one call share."""

    def __init__(self, hidden: Tensor, tiling: Tiling) -> None:
        assert hidden.numel() > 0, f"shape {tuple(hidden.shape)}"
        self.samples, self.rows, self.columns, self.channels = hidden.shape
        self.tiling = tiling
        self.strips = (
            self.samples
            * triton.cdiv(self.rows, tiling.rows)
            * triton.cdiv(self.columns, tiling.width)
        )
        self.constants: dict[str, Any] = {
            "rows": tiling.rows,
            "width": tiling.width,
            "channels": tiling.channels,
            "num_warps": tiling.warps,
        }

    def gate(
        self, hidden: Tensor, taps: Tensor, bias: Tensor, grad: Tensor, out: Tensor, gradient: bool
    ) -> None:
        """Launch `kernels.gated_convolution`."""
        features = self.channels // 2
        constants: dict[str, Any] = self.constants | {"gradient": gradient}
        kernels.gated_convolution[(self.strips, triton.cdiv(features, self.tiling.channels))](
            hidden, taps, bias, grad, out, self.rows, self.columns, features, **constants
        )


def taps_of(weight: Tensor) -> Tensor:
    """Rearrange (C, 1, 3, 3) to (9, C), in which neighbouring channels are neighbours in memory."""
    return weight.reshape(len(weight), 9).t().contiguous()


def forward(
    hidden: Tensor, weight: Tensor, bias: Tensor, out: Tensor, tiling: Tiling | None = None
) -> None:
    """Write the output into `out`.

    Args:
        hidden: (B, H, W, 2 F) with any strides; so are the weights.
        weight: (2 F, 1, 3, 3).
        bias: (2 F,).
        out: (B, H, W, F), contiguous.
        tiling: None for the default.
    """
    check_interpreter_dtype(hidden, weight, bias)
    with torch.cuda.device_of(hidden):
        hidden = hidden.contiguous()
        Launch(hidden, tiling or Tiling()).gate(
            hidden, taps_of(weight), bias.contiguous(), out, out, gradient=False
        )


def backward(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    d_hidden: Tensor,
    tiling: Tiling | None = None,
) -> tuple[Tensor, Tensor]:
    """Write the gradient of `hidden` into `d_hidden` and return those of the weights.

    Args:
        grad: Gradient of the output (B, H, W, F).
        hidden: As given to `forward`; so are the weights.
        weight: (2 F, 1, 3, 3).
        bias: (2 F,).
        d_hidden: (B, H, W, 2 F), contiguous.
        tiling: None for the default.

    Returns:
        Gradients of weight (2 F, 1, 3, 3) and bias (2 F,), float32.
    """
    with torch.cuda.device_of(hidden):
        grad, hidden, taps = grad.contiguous(), hidden.contiguous(), taps_of(weight)
        run = Launch(hidden, tiling or Tiling())
        convolved = torch.empty_like(d_hidden)
        run.gate(hidden, taps, bias.contiguous(), grad, convolved, gradient=True)
        tiles = triton.cdiv(run.channels, run.tiling.channels)
        strips_of_program = triton.cdiv(
            run.strips, run.tiling.parts or max(SUMMING_PROGRAMS // tiles, 1)
        )
        parts = triton.cdiv(run.strips, strips_of_program)
        sums = hidden.new_empty((parts, 10, run.channels), dtype=torch.float32)
        kernels.grad_convolution[(parts, tiles)](
            hidden, taps, convolved, d_hidden, sums,
            run.rows, run.columns, run.channels, run.strips, strips_of_program, **run.constants,
        )  # fmt: skip
        total = sums.sum(0)
        return total[:9].t().contiguous().view(weight.shape), total[9].clone()
