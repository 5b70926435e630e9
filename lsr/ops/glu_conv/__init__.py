"""Depth-wise 3x3 convolution with a gated linear unit: one public function, `glu_conv`."""

from lsr.ops.glu_conv.dispatch import glu_conv

__all__ = ["glu_conv"]
