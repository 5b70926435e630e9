"""The denoiser: network, LR stem and prediction type together make a velocity field and its training loss."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lsr.flow.path import expand, interpolate, velocity
from lsr.images.resampling import upsample_bicubic
from lsr.models.autoencoder_dc import DeepCompression
from lsr.models.latent_space import LatentSpace, PixelSpace
from lsr.nn.attention import KeysValues
from lsr.nn.dit import LinearDiT
from lsr.nn.embeddings import LRStem


@dataclass(frozen=True)
class DenoiserConfig:
    """Everything that is needed to build a denoiser; travels with its weights.

    Attributes:
        scale: Upscaling factor.
        autoencoder: A deep compression autoencoder (`lsr.models.autoencoder_dc`) to work in the latents of: a folder or a name on
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
        guidance: What the context is made of, see `lsr.guidance.context`: "tags" and "words" have embeddings of their own, which are
            learned; "text" and "visual" are a frozen encoder's; "none" leaves the cross-attention out.
        vocabulary: The tags, or words, that have an embedding.
        guidance_encoder: The frozen encoder: a folder, or a name on the hub.
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
    guidance: Literal["none", "tags", "words", "text", "visual"] = "none"
    vocabulary: tuple[str, ...] = ()
    guidance_encoder: str | None = None
    qk_norm: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))  # JSON and YAML have lists
        if self.guidance != "none" and not self.context_dim:
            raise ValueError(f"guidance by {self.guidance} needs a context_dim above 0")
        if (self.guidance in ("text", "visual")) != (self.guidance_encoder is not None):
            raise ValueError(
                f"guidance by {self.guidance} and guidance_encoder {self.guidance_encoder} do not go together"
            )
        if self.vocabulary and self.guidance not in ("tags", "words"):
            raise ValueError(f"guidance by {self.guidance} has no use for a vocabulary")


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told about the image; computed once per image, used at every step.

    Attributes:
        lr: (B, 3, h, w) in [-1, 1].
        base: What a flow state of zero means: the latent of the bicubically upsampled LR (B, C, H / f, W / f), or 0.
        context: Guidance (B, L, context_dim), or indices of the vocabulary (B, L), or None.
        mask: (B, L) bool, True where the context is real; given with `context`.
    """

    lr: Tensor
    base: Tensor
    context: Tensor | None = None
    mask: Tensor | None = None
    _features: dict[nn.Module, Tensor] = field(default_factory=dict)
    _memories: dict[nn.Module, tuple[KeysValues, ...]] = field(default_factory=dict)

    def features(self, stem: nn.Module) -> Tensor:
        """Return the LR features (B, stem_width, H / f, W / f) of a stem: computed when first asked for, once per image and stem."""
        if stem not in self._features:
            self._features[stem] = stem(self.lr)
        return self._features[stem]

    def memory(self, denoiser: "Denoiser") -> tuple[KeysValues, ...]:
        """Return the context's keys and values for every block of a denoiser: computed when first asked for, once per image."""
        if denoiser not in self._memories:
            self._memories[denoiser] = denoiser.net.keys_values(denoiser.embed(self))
        return self._memories[denoiser]

    def with_image(self, lr: Tensor) -> "Condition":
        """Return the same guidance, keys and values included, beside another LR image, for the velocity alone: without a base."""
        return Condition(
            lr, lr.new_zeros(len(lr)), self.context, self.mask, _memories=self._memories
        )

    def doubled_for_cfg(self) -> "Condition":
        """Return this condition for twice the batch: the second half has no context, what classifier-free guidance compares with."""
        assert self.context is not None and self.mask is not None
        lr, base, context = (torch.cat([x, x]) for x in (self.lr, self.base, self.context))
        return Condition(lr, base, context, torch.cat([self.mask, torch.zeros_like(self.mask)]))


def flow_data(latent: Tensor, condition: Condition, config: DenoiserConfig) -> Tensor:
    """Return the flow's data x_0 of images whose latents (B, C, H / f, W / f) are known."""
    return (latent - condition.base) / (config.residual_std or 1.0)


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
        self.stem = LRStem(
            self.lr_multiple,
            config.stem_width,
            gain=2 * (self.space.channels / config.stem_width) ** 0.5,
        )
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
        self.tag_table = (
            nn.Embedding(len(config.vocabulary), config.context_dim)
            if config.guidance in ("tags", "words")
            else None
        )

    @property
    def denoisers(self) -> "list[Denoiser]":
        """All denoisers of the model: this one."""
        return [self]

    @property
    def shares(self) -> dict[str, Any]:
        """What a model file says about experts: nothing, this is a single denoiser."""
        return {}

    @property
    def lr_multiple(self) -> int:
        """LR sides must be multiples of this.

        Raises:
            ValueError: If the latent grid is finer than the LR image.
        """
        if self.space.factor % self.config.scale:
            raise ValueError(
                f"{self.space.factor} pixels per latent position are not a multiple of scale {self.config.scale}"
            )
        return self.space.factor // self.config.scale

    def condition(
        self, lr: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Condition:
        """Look at the LR image.

        Args:
            lr: (B, 3, h, w) in [-1, 1], sides multiples of `lr_multiple`.
            context: Guidance (B, L, context_dim), or indices of the vocabulary (B, L), or None.
            mask: (B, L) bool, True where the context is real; None means all of it.
        """
        if context is not None and mask is None:
            mask = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device)
        if self.config.residual_std:
            base = self.space.encode(upsample_bicubic(lr, self.config.scale))
        else:
            grid = (side // self.lr_multiple for side in lr.shape[-2:])
            base = lr.new_zeros(len(lr), self.space.channels, *grid, dtype=torch.float32)
        return Condition(lr, base, context, mask)

    def encode(self, hr: Tensor, condition: Condition) -> Tensor:
        """Map HR images (B, 3, H, W) in [-1, 1] to the flow's data x_0 (B, C, H / f, W / f)."""
        return flow_data(self.space.encode(hr), condition, self.config)

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
        if condition.context is None or not self.config.context_dim:
            context = None
        else:
            # In training the keys and values are made inside the blocks, where gradient checkpointing keeps none of them.
            context = self.embed(condition) if torch.is_grad_enabled() else condition.memory(self)
        return self.net(
            torch.cat([x, condition.features(self.stem)], dim=1), t, context, condition.mask
        ).float()

    def embed(self, condition: Condition) -> Tensor:
        """Return the context of a condition as (B, L, context_dim), by this denoiser's own table where it has one."""
        assert condition.context is not None
        return condition.context if self.tag_table is None else self.tag_table(condition.context)

    def loss(
        self, x_0: Tensor, noise: Tensor, t: Tensor, condition: Condition, l1_weight: float = 0.0
    ) -> Tensor:
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
