"""Define the gated depth-wise convolution in PyTorch; the kernels are tested against it."""

import torch.nn.functional as F
from torch import Tensor


def glu_conv_reference(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve each channel, then multiply the first half of the channels by SiLU of the second.

    This is the middle of GLUMBConv of SANA (arXiv 2410.10629). Zeros pad the image by one pixel.

    Args:
        hidden: Image (B, H, W, 2 F), channels last.
        weight: Weights of the convolution (2 F, 1, 3, 3).
        bias: Bias of the convolution (2 F,).

    Returns:
        Image (B, H, W, F).
    """
    # (B, H, W, C) seen as (B, C, H, W) is the channels-last memory format: no copy.
    convolved = F.conv2d(
        hidden.permute(0, 3, 1, 2), weight, bias, padding=1, groups=len(weight)
    ).permute(0, 2, 3, 1)
    value, gate = convolved.chunk(2, dim=-1)
    return value * F.silu(gate)
