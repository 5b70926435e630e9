"""The denoiser: network, LR stem and prediction type together make a velocity field and its training loss."""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.encoders.deep_compression import DeepCompression
from lsr.encoders.latent import LatentSpace, PixelSpace
from lsr.flow.path import expand, interpolate, velocity
from lsr.nn.dit import LinearDiT
from lsr.nn.embeddings import LRStem


@dataclass(frozen=True)
class DenoiserConfig:
    """Everything that is needed to build a denoiser; travels with its weights.

    Attributes:
        scale: Upscaling factor.
        autoencoder: A deep compression autoencoder (`lsr.encoders.deep_compression`) to work in the latents of: a folder or a name on
            the hub; None works on the image itself, in patches.
        latent_channels: Channels of the autoencoder's latents.
        latent_factor: Its pixels per latent position and axis.
        patch_size: Pixels per latent position and axis where there is no autoencoder.
        residual_std: The flow's data are the difference between the image and its bicubically upsampled LR in units of this
            standard deviation, which makes them of about unit scale, as the times of the flow assume; 0 takes the image itself.
        prediction: How the network's output becomes the velocity; see `Denoiser.forward`. "preconditioned" is for data of unit
            scale, "velocity" is the output itself.
        width: Channels of the transformer.
        depth: Blocks of the transformer.
        head_dim: Channels per head of the linear attention.
        cross_heads: Heads of the cross-attention.
        mlp_ratio: Expansion of the feed-forward.
        stem_width: Channels of the LR features.
        context_dim: Channels of the guidance context; 0 for none.
        qk_norm: RMS-normalise queries and keys.
    """

    scale: int = 4
    autoencoder: str | None = None
    latent_channels: int = 32
    latent_factor: int = 32
    patch_size: int = 8
    residual_std: float = 0.125
    prediction: Literal["preconditioned", "velocity"] = "preconditioned"
    width: int = 128
    depth: int = 4
    head_dim: int = 32
    cross_heads: int = 4
    mlp_ratio: float = 2.5
    stem_width: int = 64
    context_dim: int = 0
    qk_norm: bool = False


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told about the image; computed once per image, used at every step.

    Attributes:
        lr: (B, 3, h, w) in [-1, 1].
        base: What a flow state of zero means: the latent of the bicubically upsampled LR (B, C, H / f, W / f), or 0.
        context: Guidance (B, L, context_dim), or None.
        mask: (B, L) bool, True where the context is real, or None.
    """

    lr: Tensor
    base: Tensor
    context: Tensor | None = None
    mask: Tensor | None = None
    _features: dict[nn.Module, Tensor] = field(default_factory=dict)

    def features(self, stem: nn.Module) -> Tensor:
        """Return the LR features (B, stem_width, H / f, W / f) of a stem: computed when first asked for, once per image and stem."""
        if stem not in self._features:
            self._features[stem] = stem(self.lr)
        return self._features[stem]


def upsample_bicubic(lr: Tensor, scale: int) -> Tensor:
    """Upsample (B, 3, h, w) by Keys' cubic with a = -0.5, the baseline of the field, to (B, 3, scale h, scale w)."""
    # antialias=True selects a = -0.5; the filter is not widened when the image grows.
    return F.interpolate(lr.float(), scale_factor=scale, mode="bicubic", antialias=True)


class Denoiser(nn.Module):
    """Velocity field of the flow, conditioned on an LR image.

    Args:
        config: Sizes and prediction type.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        self.space: LatentSpace = (
            DeepCompression(config.autoencoder, config.latent_channels, config.latent_factor)
            if config.autoencoder
            else PixelSpace(config.patch_size)
        )
        # LR images have a standard deviation of about 1/2. The features are to enter with the power of the noise beside them:
        # with less they are drowned, and learning to look at them takes most of a short training.
        self.stem = LRStem(self.lr_multiple, config.stem_width, gain=2 * (self.space.channels / config.stem_width) ** 0.5)
        self.net = LinearDiT(
            self.space.channels + config.stem_width,
            self.space.channels,
            config.width,
            config.depth,
            config.head_dim,
            config.cross_heads,
            config.mlp_ratio,
            config.context_dim,
            config.qk_norm,
        )

    @property
    def lr_multiple(self) -> int:
        """LR sides must be multiples of this.

        Raises:
            ValueError: If the latent grid is finer than the LR image.
        """
        if self.space.factor % self.config.scale:
            raise ValueError(f"{self.space.factor} pixels per latent position are not a multiple of scale {self.config.scale}")
        return self.space.factor // self.config.scale

    def condition(self, lr: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Condition:
        """Look at the LR image.

        Args:
            lr: (B, 3, h, w) in [-1, 1], sides multiples of `lr_multiple`.
            context: Guidance (B, L, context_dim), or None.
            mask: (B, L) bool, True where the context is real, or None.
        """
        if self.config.residual_std:
            base = self.space.encode(upsample_bicubic(lr, self.config.scale))
        else:
            grid = (side // self.lr_multiple for side in lr.shape[-2:])
            base = lr.new_zeros(len(lr), self.space.channels, *grid, dtype=torch.float32)
        return Condition(lr, base, context, mask)

    def encode(self, hr: Tensor, condition: Condition) -> Tensor:
        """Map HR images (B, 3, H, W) in [-1, 1] to the flow's data x_0 (B, C, H / f, W / f)."""
        return (self.space.encode(hr) - condition.base) / (self.config.residual_std or 1.0)

    def decode(self, x_0: Tensor, condition: Condition) -> Tensor:
        """Map the flow's data back to images (B, 3, H, W), not clipped."""
        return self.space.decode(x_0 * (self.config.residual_std or 1.0) + condition.base)

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the velocity of the flow.

        With the prediction "preconditioned" the network sees `x_t / s`, `s^2 = (1 - t)^2 + t^2`, and its output F makes the data
        estimate

            x_0 = (1 - t) / s^2 x_t + t / s F,

        the best linear estimate from x_t alone plus a correction of unit scale (the preconditioning of EDM, arXiv 2206.00364,
        table 1, on the straight path). So x_0 need not pass through the network's width when it is already visible, an
        untrained network gives the base, and the velocity (x_t - x_0) / t has no pole:

            v = ((2 t - 1) x_t / s - F) / s.

        Args:
            x_t: (B, C, H / f, W / f).
            t: Flow times (B,) in [0, 1].
            condition: Of the LR images.

        Returns:
            (B, C, H / f, W / f) float32.
        """
        if self.config.prediction == "velocity":
            return self._run(x_t, t, condition)
        time = expand(t, x_t)
        s = ((1 - time).square() + time.square()).sqrt()
        return ((2 * time - 1) * x_t / s - self._run(x_t / s, t, condition)) / s

    def _run(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.net(torch.cat([x, condition.features(self.stem)], dim=1), t, condition.context, condition.mask).float()

    def loss(self, x_0: Tensor, noise: Tensor, t: Tensor, condition: Condition, l1_weight: float = 0.0) -> Tensor:
        """Return the training loss per sample, (B,): `mean (v_hat - v)^2 + l1_weight mean |x_0_hat - x_0|`.

        The first term is conditional flow matching. The second is on the data that the velocity points to,
        `x_0_hat = x_t - t v_hat`; the true velocity points to x_0, so the difference is `t (v - v_hat)`.

        Args:
            x_0: The flow's data (B, C, H / f, W / f), from `encode`.
            noise: Standard normal, same shape.
            t: Flow times (B,).
            condition: Of the LR images.
            l1_weight: Weight of the second term.
        """
        error = (self(interpolate(x_0, noise, t), t, condition) - velocity(x_0, noise)).flatten(1)
        loss = error.square().mean(1)
        return loss + l1_weight * t * error.abs().mean(1) if l1_weight else loss
