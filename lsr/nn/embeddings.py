"""Embed the inputs of the network other than the noisy latent: time, context and LR image."""

import math

import torch
from torch import Tensor, nn


class TimestepEmbedding(nn.Module):
    """Sinusoidal embedding of the flow time, followed by an MLP (DiT, arXiv 2212.09748).

    As in SANA, times are multiplied by 1000 first: the frequencies were made for steps 0 to 1000.

    Args:
        width: Output channels D.
        frequencies: Number of sinusoids: one half are cosines, the other half are sines.
    """

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Embed flow times (B,) in [0, 1] as (B, D)."""
        # Frequencies fall geometrically from 1 to almost 1 / 10000 (arXiv 1706.03762, section 3.5).
        half = self.frequencies // 2
        omega = torch.exp(
            torch.arange(half, device=t.device, dtype=torch.float32) * (-math.log(10_000.0) / half)
        )
        angle = 1000.0 * t.float()[:, None] * omega
        return self.mlp(
            torch.cat([angle.cos(), angle.sin()], dim=-1).to(next(self.mlp.parameters()).dtype)
        )


class ContextEmbedding(nn.Module):
    """Map context tokens to the width of the network: an MLP, then RMSNorm.

    The norm has a small initial scale (SANA, arXiv 2410.10629, section 2.3), which `LinearDiT`
    sets.

    Args:
        context_dim: Channels of the context.
        width: Output channels D.
    """

    def __init__(self, context_dim: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(context_dim, width), nn.GELU(approximate="tanh"), nn.Linear(width, width)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, context: Tensor) -> Tensor:
        """Map context (B, L, context_dim) to (B, L, D)."""
        return self.norm(self.mlp(context))


class LRStem(nn.Module):
    """Convolutions that map the LR image, at its own size, to the latent grid.

    This follows LinearSR (arXiv 2510.08771, section 3.1). There are at least three convolutions
    with SiLU between them. The last ones have stride 2, log2(`reduction`) of them: none if a latent
    position covers one LR pixel, three for an autoencoder of factor 32 and a scale of 4.

    Args:
        reduction: LR pixels per latent position and axis, a power of two.
        width: Output channels.
        gain: Initial scale of the features relative to that of the LR image: a factor on the
            weights of the last convolution.

    Attributes:
        reach: Number of LR pixels on each side of a latent position that its features depend on.

    Raises:
        ValueError: If `reduction` is not a power of two.
    """

    def __init__(self, reduction: int, width: int, gain: float = 1.0) -> None:
        super().__init__()
        if reduction < 1 or reduction & (reduction - 1):
            raise ValueError(
                "latent_factor (or patch_size, without an autoencoder) divided by scale must be a "
                f"power of two (1, 2, 4, ...), not {reduction}"
            )
        strides = reduction.bit_length() - 1
        layers = max(3, strides)
        # A 3x3 convolution reaches one pixel of its own input, which is 2^k LR pixels after k
        # convolutions of stride 2.
        self.reach = sum(2 ** max(0, i - layers + strides) for i in range(layers))
        channels = [3] + [width] * layers
        convolutions: list[nn.Module] = []
        for i in range(layers):
            convolutions += [nn.SiLU()] if i else []
            convolutions += [
                nn.Conv2d(
                    channels[i],
                    channels[i + 1],
                    3,
                    stride=2 if i >= layers - strides else 1,
                    padding=1,
                )
            ]
        self.convolutions = nn.Sequential(*convolutions)
        for module in convolutions:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.convolutions[-1].weight *= gain  # pyright: ignore[reportOperatorIssue]

    def forward(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w) in [-1, 1] to features (B, width, h / r, w / r).

        r is `reduction`; h and w must be multiples of it.
        """
        return self.convolutions(lr)
