"""Non-causal ReLU linear attention: one public function, `linear_attention`."""

from lsr.ops.linear_attention.dispatch import linear_attention

__all__ = ["linear_attention"]
