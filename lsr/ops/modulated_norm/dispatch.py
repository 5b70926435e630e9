"""Dispatch the modulated norm: to the Triton kernels where they run, else to PyTorch."""

from torch import Tensor

from lsr.ops.kernel_support import HAVE_TRITON, kernels_take
from lsr.ops.modulated_norm.reference import modulated_norm_reference

if HAVE_TRITON:
    from lsr.ops.modulated_norm import operators

WIDEST = 8192
"""Largest number of channels of a token that a program can hold in registers."""


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float = 1e-6) -> Tensor:
    """Apply a layer norm without weights, multiply by (1 + scale) and add shift.

    In a block with AdaLN (DiT, arXiv 2212.09748) this is the input of every branch.
    `modulated_norm_reference` defines it. Triton kernels compute CUDA tensors in bfloat16, float16
    or float32 of up to `WIDEST` channels, in float32 from load to store; PyTorch computes
    everything else. For the backward pass the kernels keep only x and scale; they compute mean and
    variance again.

    Args:
        x: Tokens (B, N, D).
        shift: Shift of each sample (B, 1, D).
        scale: Scale of each sample (B, 1, D).
        eps: Number added to the variance.

    Returns:
        Tokens (B, N, D) in the type that the types of x, shift and scale promote to.
    """
    samples, _, width = x.shape
    assert shift.shape == scale.shape == (samples, 1, width), (
        f"shift and scale must be {(samples, 1, width)}, "
        f"not {tuple(shift.shape)} and {tuple(scale.shape)}"
    )
    if kernels_take(x, shift, scale) and width <= WIDEST:
        return operators.modulated_norm(x, shift, scale, eps)
    return modulated_norm_reference(x, shift, scale, eps)
