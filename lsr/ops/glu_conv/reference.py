"""The PyTorch definition of the gated depth-wise convolution that the kernels are tested against."""

import torch.nn.functional as F
from torch import Tensor


def glu_conv_reference(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve every channel by itself, then multiply the first half of the channels by SiLU of the second (GLUMBConv of SANA).

    Args:
        hidden: (B, H, W, 2 F), channels last.
        weight: (2 F, 1, 3, 3).
        bias: (2 F,).

    Returns:
        (B, H, W, F). The image is padded by zeros.
    """
    # (B, H, W, C) seen as (B, C, H, W) is the channels-last memory format: no copy.
    convolved = F.conv2d(
        hidden.permute(0, 3, 1, 2), weight, bias, padding=1, groups=len(weight)
    ).permute(0, 2, 3, 1)
    value, gate = convolved.chunk(2, dim=-1)
    return value * F.silu(gate)
