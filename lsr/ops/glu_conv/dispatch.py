"""Dispatch the gated convolution: to the Triton kernels where they run, else to PyTorch."""

from torch import Tensor

from lsr.ops.glu_conv.reference import glu_conv_reference
from lsr.ops.kernel_support import HAVE_TRITON, kernels_take

if HAVE_TRITON:
    from lsr.ops.glu_conv import operators


def glu_conv(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a depth-wise 3x3 convolution and a gated linear unit, see `glu_conv_reference`.

    Triton kernels compute CUDA tensors in bfloat16, float16 or float32 in one pass; PyTorch
    computes everything else. The kernels sum in float32 whatever the types. For the backward pass
    they keep only the arguments and convolve again.

    Args:
        hidden: Image (B, H, W, 2 F), channels last: values in the first half of the channels, gates
            in the second, both after the activation that stands before the convolution.
        weight: Weights of the convolution (2 F, 1, 3, 3).
        bias: Bias of the convolution (2 F,).

    Returns:
        (B, H, W, F) in the dtype of `hidden`.
    """
    channels = hidden.shape[-1]
    assert hidden.ndim == 4 and channels % 2 == 0, (
        f"hidden must be (B, H, W, 2 F), not {tuple(hidden.shape)}"
    )
    assert weight.shape == (channels, 1, 3, 3) and bias.shape == (channels,), (
        f"weight and bias must be {(channels, 1, 3, 3)} and {(channels,)}, "
        f"not {tuple(weight.shape)} and {tuple(bias.shape)}"
    )
    if kernels_take(hidden, weight, bias):
        return operators.glu_conv(hidden, weight, bias)
    return glu_conv_reference(hidden, weight, bias)
