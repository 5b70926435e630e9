"""What enters the network beside the noisy latent: the time, the context and the low-resolution image."""

import math

import torch
from torch import Tensor, nn


class TimestepEmbedding(nn.Module):
    """Sinusoids of the flow time, then an MLP (DiT, arXiv 2212.09748, with SANA's scale of 1000 for t = 1).

    Args:
        width: Output channels D.
        frequencies: Number of sinusoids, cosines first.
    """

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Embed flow times (B,) in [0, 1] as (B, D)."""
        half = self.frequencies // 2
        omega = torch.exp(
            torch.arange(half, device=t.device, dtype=torch.float32) * (-math.log(10_000.0) / half)
        )
        angle = 1000.0 * t.float()[:, None] * omega
        return self.mlp(
            torch.cat([angle.cos(), angle.sin()], dim=-1).to(next(self.mlp.parameters()).dtype)
        )


class ContextEmbedding(nn.Module):
    """Bring context tokens to the network's width: MLP, then RMSNorm with a small initial scale (SANA, section 2.3).

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
    """Strided convolutions that bring the LR image, at its native size, to the latent grid (LinearSR, section 3.1).

    At least three convolutions with SiLU between them; the last ones have stride 2, as many as the grid asks for:
    none when a latent position covers one LR pixel, three for a 32x autoencoder at scale 4.

    Args:
        reduction: LR pixels per latent position and axis; a power of two.
        width: Output channels.
        gain: Initial scale of the features relative to that of the LR image.
    """

    def __init__(self, reduction: int, width: int, gain: float = 1.0) -> None:
        super().__init__()
        if reduction < 1 or reduction & (reduction - 1):
            raise ValueError(
                f"the latent grid must be coarser than the LR image by a power of two, not {reduction}"
            )
        strides = reduction.bit_length() - 1
        layers = max(3, strides)
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
        """Map LR (B, 3, h, w) in [-1, 1], sides multiples of `reduction`, to (B, width, h / reduction, w / reduction)."""
        return self.convolutions(lr)
