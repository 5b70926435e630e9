"""Attend to image tokens with linear attention and to the context with softmax attention."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lsr.ops.linear_attention import attend_to_means, key_value_sums, linear_attention


class LinearSelfAttention(nn.Module):
    """ReLU linear attention among image tokens, without positional encoding.

    SANA describes it (arXiv 2410.10629, section 2.2).

    Args:
        width: Channels D, a multiple of `head_dim`.
        head_dim: Channels per head E.
        qk_norm: Whether to RMS-normalise q and k before the ReLU, over the channels of all heads
            together (SANA-1.5, arXiv 2501.18427).

    Attributes:
        operator: Function that `forward` attends with; experiments replace it.

    Raises:
        ValueError: If `width` is not a multiple of `head_dim`.
    """

    def __init__(self, width: int, head_dim: int = 32, qk_norm: bool = False) -> None:
        super().__init__()
        if width % head_dim:
            raise ValueError(f"width {width} is not a multiple of head_dim {head_dim}")
        self.head_dim = head_dim
        self.qk_norm = qk_norm
        self.operator = linear_attention
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        if qk_norm:
            self.norm_q = nn.RMSNorm(width, eps=1e-5)
            self.norm_k = nn.RMSNorm(width, eps=1e-5)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, D) to tokens (B, N, D)."""
        return self.out(self.operator(self.split(self.qkv(x))).flatten(2))

    def split(self, projected: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Return what the attention sees of the projection (B, N, 3 D), see `linear_attention`.

        With `qk_norm` these are the three tensors q, k and v, else one tensor (B, N, 3, A, E).
        """
        qkv = projected.unflatten(-1, (3, -1, self.head_dim))
        if not self.qk_norm:
            return qkv
        q, k, v = qkv.unbind(2)
        return self.norm_q(q.flatten(2)).view_as(q), self.norm_k(k.flatten(2)).view_as(k), v

    def sums(self, x: Tensor) -> Tensor:
        """Return the sums over some tokens (B, n, D) that all tokens attend to.

        They are (B, A, E, E + 1), see `lsr.ops.linear_attention.key_value_sums`. The sums of all
        tokens, divided by their number, are the `means` of `attend`.
        """
        k, v = self._project(x, slice(1, 3)).unbind(2)
        if self.qk_norm:
            k = self.norm_k(k.flatten(2)).view_as(k)
        return key_value_sums(k, v)

    def attend(self, x: Tensor, means: Tensor) -> Tensor:
        """Map some tokens (B, n, D) as `forward` does, given the means over all tokens."""
        q = self._project(x, slice(0, 1)).squeeze(2)
        if self.qk_norm:
            q = self.norm_q(q.flatten(2)).view_as(q)
        return self.out(attend_to_means(q, means).flatten(2))

    def _project(self, x: Tensor, parts: slice) -> Tensor:
        """Return some of q, k and v, (B, n, parts, A, E)."""
        weight = self.qkv.weight.unflatten(0, (3, -1))[parts].flatten(0, 1)
        return F.linear(x, weight).unflatten(-1, (-1, x.shape[-1] // self.head_dim, self.head_dim))


KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one cross-attention, each (B, A, L, E)."""


class CrossAttention(nn.Module):
    """Softmax attention from image tokens to a context; samples without context are allowed.

    Args:
        width: Channels D, a multiple of `heads`.
        heads: Number of heads A.
        qk_norm: Whether to RMS-normalise q and k over the channels of all heads together.

    Raises:
        ValueError: If `width` is not a multiple of `heads`.
    """

    def __init__(self, width: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of cross_heads {heads}")
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.norm_q = nn.RMSNorm(width, eps=1e-5) if qk_norm else nn.Identity()
        self.norm_k = nn.RMSNorm(width, eps=1e-5) if qk_norm else nn.Identity()
        self.out = nn.Linear(width, width)

    def keys_values(self, context: Tensor) -> KeysValues:
        """Return the keys and values of an embedded context (B, L, D).

        They depend neither on the image nor on the time, so a sampler computes them once.
        """
        k, v = self.kv(context).chunk(2, dim=-1)
        return self._heads(self.norm_k(k)), self._heads(v)

    def forward(self, x: Tensor, context: Tensor | KeysValues, mask: Tensor) -> Tensor:
        """Attend to the context.

        Args:
            x: Tokens (B, N, D).
            context: Embedded context (B, L, D) with L >= 1, or the result of `keys_values`.
            mask: Mask (B, L), bool, True for context tokens and False for padding.

        Returns:
            Tokens (B, N, D), exactly 0 for a sample whose context is all padding.
        """
        k, v = self.keys_values(context) if isinstance(context, Tensor) else context
        q = self._heads(self.norm_q(self.q(x)))
        present = mask.any(dim=-1)
        # Softmax over no key at all is 0 / 0, whose gradient is NaN even if the result is dropped.
        # So a sample without context attends to its padding, and its result is set to 0 below.
        visible = (mask | ~present[:, None])[:, None, None, :]
        attended = rearrange(
            F.scaled_dot_product_attention(q, k, v, attn_mask=visible), "b a n e -> b n (a e)"
        )
        return torch.where(present[:, None, None], self.out(attended), 0.0)

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (a e) -> b a n e", a=self.heads)
