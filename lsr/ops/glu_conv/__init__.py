"""Compute a depth-wise 3x3 convolution and a gated linear unit: `glu_conv`."""

from lsr.ops.glu_conv.dispatch import glu_conv

__all__ = ["glu_conv"]
