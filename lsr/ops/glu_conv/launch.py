"""Choose the tiles and grids of the Triton kernels of the convolution and launch them."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from lsr.ops.glu_conv import kernels
from lsr.ops.kernel_support import check_interpreter_dtype

# Number of programs to launch in the kernel that writes partial sums, if there are enough strips: 8
# for each of the 132 multiprocessors of an H200, so that some compute while others wait for memory.
# A constant instead of the number of multiprocessors of the device: then every GPU cuts a sum in
# the same places.
SUMMING_PROGRAMS = 1056


class Tiling(NamedTuple):
    """Size of the tiles of a kernel program.

    Attributes:
        rows: Number of rows of a strip. Two more rows, above and below, are read in addition.
        width: Number of columns of a strip.
        channels: Number of channels of a program; 64 are whole cache lines in half precision.
        warps: Number of warps of a program.
        parts: Upper limit of the number of partial sums. None takes as many as fill a GPU.
    """

    rows: int = 16
    width: int = 8
    channels: int = 64
    warps: int = 4
    parts: int | None = None


class Launch:
    """Sizes and compile-time constants that all kernels of one call share."""

    def __init__(self, hidden: Tensor, tiling: Tiling) -> None:
        assert hidden.numel() > 0, f"hidden must not be empty, but is {tuple(hidden.shape)}"
        samples, self.rows, self.columns, self.channels = hidden.shape
        self.tiling = tiling
        down = triton.cdiv(self.rows, tiling.rows)
        across = triton.cdiv(self.columns, tiling.width)
        self.strips = samples * down * across
        self.constants: dict[str, Any] = {
            "rows": tiling.rows,
            "width": tiling.width,
            "channels": tiling.channels,
            "num_warps": tiling.warps,
        }

    def gate(
        self, hidden: Tensor, taps: Tensor, bias: Tensor, grad: Tensor, out: Tensor, gradient: bool
    ) -> None:
        """Launch `kernels.gated_convolution`: one program for each strip and tile of channels."""
        features = self.channels // 2
        constants: dict[str, Any] = self.constants | {"gradient": gradient}
        kernels.gated_convolution[(self.strips, triton.cdiv(features, self.tiling.channels))](
            hidden, taps, bias, grad, out, self.rows, self.columns, features, **constants
        )


def taps_of(weight: Tensor) -> Tensor:
    """Rearrange weights (C, 1, 3, 3) to (9, C): neighbouring channels are neighbours in memory."""
    return weight.reshape(len(weight), 9).t().contiguous()


def forward(
    hidden: Tensor, weight: Tensor, bias: Tensor, out: Tensor, tiling: Tiling | None = None
) -> None:
    """Write the output into `out`.

    Args:
        hidden: Image (B, H, W, 2 F) with any strides.
        weight: Weights of the convolution (2 F, 1, 3, 3) with any strides.
        bias: Bias of the convolution (2 F,) with any strides.
        out: Memory for the output (B, H, W, F), contiguous.
        tiling: Size of the tiles; None takes the default.
    """
    check_interpreter_dtype(hidden, weight, bias)
    with torch.cuda.device_of(hidden):
        hidden = hidden.contiguous()
        Launch(hidden, tiling or Tiling()).gate(
            hidden, taps_of(weight), bias.contiguous(), out, out, gradient=False
        )  # `grad` is not read here: any pointer will do


def backward(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    d_hidden: Tensor,
    tiling: Tiling | None = None,
) -> tuple[Tensor, Tensor]:
    """Write the gradient of `hidden` into `d_hidden` and return those of weight and bias.

    Args:
        grad: Gradient of the output (B, H, W, F).
        hidden: The image (B, H, W, 2 F) that `forward` was called with.
        weight: The weights (2 F, 1, 3, 3) that `forward` was called with.
        bias: The bias (2 F,) that `forward` was called with.
        d_hidden: Memory for the gradient of `hidden` (B, H, W, 2 F), contiguous.
        tiling: Size of the tiles; None takes the default.

    Returns:
        Gradients of weight (2 F, 1, 3, 3) and bias (2 F,), float32.
    """
    with torch.cuda.device_of(hidden):
        grad = grad.contiguous()
        hidden = hidden.contiguous()
        taps = taps_of(weight)
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
