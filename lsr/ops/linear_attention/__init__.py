"""Non-causal ReLU linear attention: of all tokens together, or in two parts."""

from lsr.ops.linear_attention.dispatch import linear_attention, unpacked
from lsr.ops.linear_attention.partial import attend_to_means, key_value_sums

__all__ = ["attend_to_means", "key_value_sums", "linear_attention", "unpacked"]
