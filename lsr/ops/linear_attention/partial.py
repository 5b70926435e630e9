"""Compute linear attention in two parts, so that the tokens need not be in memory together.

The formulas are those of `lsr.ops.linear_attention.reference`: a token sees the others only through
S and z, which are sums over all tokens. As there, everything is float32, under autocast too.
"""

import torch
from torch import Tensor


def key_value_sums(k: Tensor, v: Tensor) -> Tensor:
    """Return S and z of some tokens: sums over them of relu(k)^T v and of relu(k).

    Args:
        k: Keys (B, n, A, E): batch, tokens, heads, head dimension.
        v: Values (B, n, A, E).

    Returns:
        (B, A, E, E + 1) float32; the last column is z. Unlike in the reference they are not divided
        by the number of tokens: the sums of several sets of tokens add up to those of all.
    """
    with torch.autocast(k.device.type, enabled=False):
        b, value = (x.transpose(1, 2).float() for x in (k.relu(), v))
        return torch.cat([b.transpose(-1, -2) @ value, b.sum(-2).unsqueeze(-1)], dim=-1)


def attend_to_means(q: Tensor, means: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the attention of some tokens to all tokens.

    Args:
        q: Queries (B, n, A, E).
        means: `key_value_sums` of all tokens, divided by their number, float32.
        eps: Number added to the denominator, as in the reference.

    Returns:
        (B, n, A, E) in the dtype of q.
    """
    with torch.autocast(q.device.type, enabled=False):
        attended = q.transpose(1, 2).float().relu() @ means
    quotient = attended[..., :-1] / (attended[..., -1:] + eps)
    return quotient.transpose(1, 2).to(q.dtype)
