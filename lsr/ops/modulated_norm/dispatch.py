"""The public function: the Triton kernels where they run, PyTorch elsewhere."""

from torch import Tensor

from lsr.ops.kernel_support import HAVE_TRITON, kernels_take
from lsr.ops.modulated_norm.reference import modulated_norm_reference

if HAVE_TRITON:
    from lsr.ops.modulated_norm import operators

WIDEST = 8192
"""Channels of a token that a program holds in registers."""


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float = 1e-6) -> Tensor:
    """Layer norm without weights, times (1 + scale), plus shift: the input of every branch of a block with AdaLN.

    CUDA tensors in bfloat16, float16 or float32 of up to `WIDEST` channels are computed by Triton kernels, in float32 from load to
    store, everything else by PyTorch as `modulated_norm_reference` defines it. For backward the kernels keep x and scale alone: mean
    and variance are computed again.

    Args:
        x: Tokens (B, N, D).
        shift: (B, 1, D).
        scale: (B, 1, D).
        eps: Added to the variance.

    Returns:
        (B, N, D) in the type that those of the arguments promote to.
    """
    samples, _, width = x.shape
    assert shift.shape == scale.shape == (samples, 1, width), (
        f"{tuple(shift.shape)}, {tuple(scale.shape)}, not {(samples, 1, width)}"
    )
    if kernels_take(x, shift, scale) and width <= WIDEST:
        return operators.modulated_norm(x, shift, scale, eps)
    return modulated_norm_reference(x, shift, scale, eps)
