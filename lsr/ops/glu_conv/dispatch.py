"""The public function: the Triton kernels where they run, PyTorch elsewhere."""

from torch import Tensor

from lsr.ops.glu_conv.reference import glu_conv_reference
from lsr.ops.kernel_support import HAVE_TRITON, kernels_take

if HAVE_TRITON:
    from lsr.ops.glu_conv import operators


def glu_conv(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depth-wise 3x3 convolution and gated linear unit in one pass, as `glu_conv_reference` defines it.

    CUDA tensors in bfloat16, float16 or float32 are computed by Triton kernels, everything else by PyTorch. The kernels sum in float32
    whatever the types, outside autocast too. For backward they keep the arguments alone: the convolved image is computed again.

    Args:
        hidden: (B, H, W, 2 F), channels last: values in the first half of the channels, gates in the second, both after the
            activation that stands before the convolution.
        weight: (2 F, 1, 3, 3).
        bias: (2 F,).

    Returns:
        (B, H, W, F) in the dtype of `hidden`.
    """
    channels = hidden.shape[-1]
    assert hidden.ndim == 4 and channels % 2 == 0, (
        f"shape {tuple(hidden.shape)}, not (B, H, W, 2 F)"
    )
    assert weight.shape == (channels, 1, 3, 3) and bias.shape == (channels,), (
        f"{tuple(weight.shape)}, {tuple(bias.shape)}"
    )
    if kernels_take(hidden, weight, bias):
        return operators.glu_conv(hidden, weight, bias)
    return glu_conv_reference(hidden, weight, bias)
