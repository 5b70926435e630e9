"""Build the transformer block: linear attention, cross-attention, convolutional feed-forward."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.nn.attention import CrossAttention, KeysValues, LinearSelfAttention
from lsr.ops.glu_conv import glu_conv
from lsr.ops.modulated_norm import modulated_norm


class MixFFN(nn.Module):
    """Gated feed-forward with a depth-wise 3x3 convolution (GLUMBConv of SANA, arXiv 2410.10629).

    Linear D -> 2 r D, SiLU, depth-wise 3x3, split into value and gate, value * SiLU(gate), linear r
    D -> D. SANA's 1x1 convolutions are linear layers here, because tokens have their channels last.
    The 3x3 convolution and its zero padding are the only source of position in the network.

    Args:
        width: Channels D.
        mlp_ratio: Expansion r of the channels.
    """

    def __init__(self, width: int, mlp_ratio: float = 2.5) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.inverted = nn.Linear(width, 2 * hidden)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.point = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens (B, H * W, D), the rows of an image of `size` (H, W), to the same shape."""
        assert self.depthwise.bias is not None
        hidden = F.silu(self.inverted(x), inplace=not torch.is_grad_enabled()).unflatten(1, size)
        return self.point(
            glu_conv(hidden, self.depthwise.weight, self.depthwise.bias).flatten(1, 2)
        )


class LinearDiTBlock(nn.Module):
    """Transformer block with AdaLN-single modulation (PixArt-alpha, arXiv 2310.00426), as in SANA.

        h += gate_1 * attention(modulated_norm(h, shift_1, scale_1))
        h += cross_attention(h, context)            (no norm, no gate)
        h += gate_2 * ffn(modulated_norm(h, shift_2, scale_2))

    Shifts, scales and gates are the sum of two terms: a projection of the time embedding, which all
    blocks share, and a learned table of each block.

    Args:
        width: Channels D.
        head_dim: Channels per head of the linear attention.
        cross_heads: Number of heads of the cross-attention; None builds a block without it.
        mlp_ratio: Expansion of the feed-forward.
        qk_norm: Whether to RMS-normalise queries and keys.
    """

    def __init__(
        self, width: int, head_dim: int, cross_heads: int | None, mlp_ratio: float, qk_norm: bool
    ) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.empty(6, width))
        self.attention = LinearSelfAttention(width, head_dim, qk_norm)
        self.cross_attention = CrossAttention(width, cross_heads, qk_norm) if cross_heads else None
        self.ffn = MixFFN(width, mlp_ratio)

    def forward(
        self,
        x: Tensor,
        size: tuple[int, int],
        modulation: Tensor,
        context: Tensor | KeysValues | None,
        mask: Tensor | None,
    ) -> Tensor:
        """Apply the block to image tokens.

        Args:
            x: Tokens (B, H * W, D).
            size: Height and width (H, W) of the grid of tokens.
            modulation: Projection of the time embedding (B, 6, D), the same for all blocks.
            context: Embedded context (B, L, D), its keys and values for this block, or None.
            mask: Mask (B, L), bool, True for context tokens and False for padding; required with
                `context`.

        Returns:
            Tokens (B, H * W, D).
        """
        shift, scale, gate = self._modulation(modulation)[:3]
        x = x + gate * self.attention(modulated_norm(x, shift, scale))
        return self.feed_forward(self._see_context(x, context, mask), size, modulation)

    def sums(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Return the sums over some tokens (B, n, D) that `attend` needs of all tokens.

        See `LinearSelfAttention.sums`. `sums`, `attend` and `feed_forward` are the three parts of
        `forward` for tokens that are not in memory together.
        """
        shift, scale, _ = self._modulation(modulation)[:3]
        return self.attention.sums(modulated_norm(x, shift, scale))

    def attend(
        self,
        x: Tensor,
        modulation: Tensor,
        means: Tensor,
        context: KeysValues | None,
        mask: Tensor | None,
    ) -> Tensor:
        """Apply linear attention and cross-attention to some tokens (B, n, D).

        Args:
            x: The tokens.
            modulation: See `forward`.
            means: Sums over all tokens divided by their number, see `LinearSelfAttention.attend`.
            context: See `forward`.
            mask: See `forward`.
        """
        shift, scale, gate = self._modulation(modulation)[:3]
        x = torch.addcmul(x, gate, self.attention.attend(modulated_norm(x, shift, scale), means))
        return self._see_context(x, context, mask)

    def feed_forward(self, x: Tensor, size: tuple[int, int], modulation: Tensor) -> Tensor:
        """Apply the feed-forward to tokens (B, H * W, D), the rows of a grid of `size` (H, W).

        Each token depends on its eight neighbours. Beyond the grid there are zeros.
        """
        shift, scale, gate = self._modulation(modulation)[3:]
        return torch.addcmul(x, gate, self.ffn(modulated_norm(x, shift, scale), size))

    def _modulation(self, modulation: Tensor) -> tuple[Tensor, ...]:
        """Return shift, scale and gate of the attention, then those of the feed-forward."""
        return (modulation + self.scale_shift_table).chunk(6, dim=1)

    def _see_context(
        self, x: Tensor, context: Tensor | KeysValues | None, mask: Tensor | None
    ) -> Tensor:
        if self.cross_attention is None or context is None:
            return x
        assert mask is not None
        return x + self.cross_attention(x, context, mask)
