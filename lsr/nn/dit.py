"""Build LinearDiT, the diffusion transformer with linear attention."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lsr.nn.attention import KeysValues
from lsr.nn.block import LinearDiTBlock
from lsr.nn.embeddings import ContextEmbedding, TimestepEmbedding
from lsr.ops.modulated_norm import modulated_norm


class LinearDiT(nn.Module):
    """Diffusion transformer of SANA (arXiv 2410.10629): every position of the latent is a token.

    There is no positional encoding: position comes from the depth-wise convolutions and from the
    zero padding at the border, so the same weights work for any image size. The weights of the last
    layer are 0 at first: an untrained network predicts 0.

    Args:
        in_channels: Channels of the input: noisy latent and LR features, concatenated.
        out_channels: Channels of the prediction.
        width: Channels D of the transformer.
        depth: Number of blocks.
        head_dim: Channels per head of the linear attention.
        cross_heads: Number of heads of the cross-attention.
        mlp_ratio: Expansion of the feed-forward.
        context_dim: Channels of the context; 0 builds a network without cross-attention.
        qk_norm: Whether to RMS-normalise queries and keys.

    Attributes:
        gradient_checkpointing: Whether training keeps only the tokens between blocks and computes
            each block again for its gradient. That takes a third more time and a fraction of the
            memory. False at first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        depth: int,
        head_dim: int = 32,
        cross_heads: int = 4,
        mlp_ratio: float = 2.5,
        context_dim: int = 0,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.embed = nn.Linear(in_channels, width)
        self.time_embedding = TimestepEmbedding(width)
        self.time_modulation = nn.Linear(width, 6 * width)
        self.context_embedding = ContextEmbedding(context_dim, width) if context_dim else None
        heads = cross_heads if context_dim else None
        self.blocks = nn.ModuleList(
            LinearDiTBlock(width, head_dim, heads, mlp_ratio, qk_norm) for _ in range(depth)
        )
        self.scale_shift_table = nn.Parameter(torch.empty(2, width))
        self.out = nn.Linear(width, out_channels)
        self._initialise()

    def _initialise(self) -> None:
        """Set the initial weights: Xavier, normal for embeddings, 0 for the output layer."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, (LinearDiT, LinearDiTBlock)):
                nn.init.normal_(
                    module.scale_shift_table, std=1 / math.sqrt(module.scale_shift_table.shape[-1])
                )
        for mlp in (self.time_embedding, self.context_embedding):
            for module in mlp.modules() if mlp is not None else ():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
        nn.init.normal_(self.time_modulation.weight, std=0.02)
        if self.context_embedding is not None:
            nn.init.constant_(self.context_embedding.norm.weight, 0.01)
        nn.init.zeros_(self.out.weight)

    def keys_values(self, context: Tensor) -> tuple[KeysValues, ...]:
        """Return the keys and values of a context (B, L, context_dim), L >= 1, for every block.

        They depend neither on the image nor on the time, so a sampler computes them once.
        """
        assert self.context_embedding is not None
        embedded = self.context_embedding(context)
        attentions: list[Any] = [block.cross_attention for block in self.blocks]
        return tuple(attention.keys_values(embedded) for attention in attentions)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | tuple[KeysValues, ...] | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Predict from the noisy input.

        Args:
            x: Noisy latent and LR features (B, in_channels, H, W).
            t: Flow times (B,) in [0, 1]; 0 is data, 1 is noise.
            context: Context (B, L, context_dim), the result of `keys_values`, or None.
            mask: Mask (B, L), bool, True for context tokens and False for padding; None means that
                there is no padding. It is required with the result of `keys_values`.

        Returns:
            Prediction (B, out_channels, H, W).
        """
        size = (x.shape[2], x.shape[3])
        tokens = self.tokens(x)
        time, modulation = self.modulation(t)
        seen: Sequence[Tensor | KeysValues | None]
        if (
            self.context_embedding is None
            or context is None
            or (isinstance(context, Tensor) and context.shape[1] == 0)
        ):
            seen = [None] * len(self.blocks)
        elif isinstance(context, Tensor):
            if mask is None:
                mask = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device)
            seen = [self.context_embedding(context)] * len(self.blocks)
        else:
            assert mask is not None
            seen = context
        for block, context_of_block in zip(self.blocks, seen, strict=True):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(
                    block, tokens, size, modulation, context_of_block, mask, use_reentrant=False
                )
            else:
                tokens = block(tokens, size, modulation, context_of_block, mask)
        return self.prediction(tokens, time).transpose(1, 2).unflatten(2, size)

    def tokens(self, x: Tensor) -> Tensor:
        """Embed the input (B, in_channels, H, W) as tokens (B, H * W, D), the first layer."""
        return self.embed(x.flatten(2).transpose(1, 2))

    def modulation(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding (B, D) of times (B,), and the modulation (B, 6, D) of the blocks."""
        time = self.time_embedding(t)
        return time, self.time_modulation(F.silu(time)).unflatten(-1, (6, -1))

    def prediction(self, tokens: Tensor, time: Tensor) -> Tensor:
        """Map tokens (B, N, D) to predictions (B, N, out_channels), the last layer."""
        shift, scale = (self.scale_shift_table + time[:, None]).chunk(2, dim=1)
        return self.out(modulated_norm(tokens, shift, scale))
