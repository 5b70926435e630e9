"""Define the denoiser: the velocity field of the flow, conditioned on an LR image, and its loss.

`lsr.flow.path` defines the symbols t, x_0, x_t and v. In shapes, f is the number of image pixels
per latent position and axis.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lsr.flow.path import expand, interpolate, velocity
from lsr.images.resampling import upsample_bicubic
from lsr.models.autoencoder_dc import DeepCompression
from lsr.models.condition import Condition
from lsr.models.config import DenoiserConfig
from lsr.models.latent_space import LatentSpace, PixelSpace
from lsr.nn.dit import LinearDiT
from lsr.nn.embeddings import LRStem
from lsr.nn.head import RefiningHead


def flow_data(latent: Tensor, condition: Condition, config: DenoiserConfig) -> Tensor:
    """Return the data x_0 (B, C, H / f, W / f) of the flow for given latents of the same shape."""
    return (latent - condition.base) / (config.residual_std or 1.0)


class Denoiser(nn.Module):
    """Velocity field of the flow, conditioned on an LR image.

    Args:
        config: All settings.

    Attributes:
        config: The settings it was built with.
        one_step: Whether the model was trained for a single sampling step (stage 3).
        space: Latent space of the flow.
        stem: Convolutions that compute the LR features.
        net: Transformer that computes the prediction.
        head: Convolutions that refine the prediction, or None.
        tag_table: Learned embeddings of the vocabulary, or None.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        self.one_step = False
        self.space: LatentSpace = (
            DeepCompression(config.autoencoder, config.latent_channels, config.latent_factor)
            if config.autoencoder
            else PixelSpace(config.patch_size)
        )
        # Give the LR features the total power of the noise in the input: with less power the
        # network does not see them at first, and learns to use them only late in a short training.
        # White noise of unit variance in C channels has power C, features of variance s^2 in
        # `stem_width` channels have stem_width s^2, and LR images have a standard deviation of
        # about 1/2, hence the factor 2.
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
        self.head = (
            RefiningHead(config.patch_size, config.scale, config.head_width, config.head_depth)
            if config.head_width
            else None
        )
        self.tag_table = (
            nn.Embedding(len(config.vocabulary), config.context_dim)
            if config.guidance in ("tags", "words")
            else None
        )

    @property
    def denoisers(self) -> "list[Denoiser]":
        """The denoisers of the model: this one. A mixture returns its experts.

        Code that treats single denoisers and mixtures alike iterates over this list.
        """
        return [self]

    def denoiser_at(self, t: Tensor) -> "Denoiser":
        """Return the denoiser of the times (B,): this one. A mixture returns one of its experts."""
        return self

    @property
    def shares(self) -> dict[str, Any]:
        """Entries of a model file that describe experts: none for a single denoiser."""
        return {}

    @property
    def lr_multiple(self) -> int:
        """Number of LR pixels per latent position and axis; LR sides must be multiples of it.

        Raises:
            ValueError: If the latent grid is finer than the LR image.
        """
        if self.space.factor % self.config.scale:
            raise ValueError(
                "latent_factor (or patch_size, without an autoencoder) must be a multiple of scale "
                f"{self.config.scale}, not {self.space.factor}"
            )
        return self.space.factor // self.config.scale

    @property
    def margin(self) -> int:
        """LR pixels that a picture is extended by on each side, and its result is cut by.

        Beyond the border convolutions see zeros, and the outermost latent positions get a visible
        pattern. So in pixel space one latent position of repeated pixels surrounds the picture. The
        decoder of an autoencoder makes no such pattern.
        """
        return 0 if self.config.autoencoder else self.lr_multiple

    def condition(
        self, lr: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Condition:
        """Build the condition of LR images and their context, with the base of the images.

        Args:
            lr: LR images (B, 3, h, w) in [-1, 1], sides multiples of `lr_multiple`.
            context: Context (B, L, context_dim), or indices into the vocabulary (B, L), or None.
            mask: Mask (B, L), bool, True for context tokens and False for padding; None means that
                there is no padding.
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
        """Map HR images (B, 3, H, W) in [-1, 1] to data x_0 (B, C, H / f, W / f) of the flow."""
        return flow_data(self.space.encode(hr), condition, self.config)

    def decode(self, x_0: Tensor, condition: Condition) -> Tensor:
        """Map the data x_0 of the flow to images (B, 3, H, W), whose values are not clipped."""
        return self.space.decode(self.latent(x_0, condition))

    def latent(self, x_0: Tensor, condition: Condition) -> Tensor:
        """Return the latent for data x_0 of the flow of the same shape; inverts `flow_data`."""
        return x_0 * (self.config.residual_std or 1.0) + condition.base

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the velocity of the flow.

        With the prediction "velocity" it is the output F of the network. With "preconditioned" the
        network sees `x_t / s` and its output makes the estimate

            x_0 = (1 - t) / s^2 x_t + t / s F,    s^2 = (1 - t)^2 + t^2,

        the preconditioning of EDM (arXiv 2206.00364, table 1) on the straight path. For x_0 of unit
        variance s^2 is the variance of x_t, so the input has unit variance. The first term is the
        best linear estimate of x_0 from x_t. Its error is t / s times (t x_0 - (1 - t) eps) / s,
        which is what F has to predict: of unit variance and uncorrelated with x_t at all times.
        This has three advantages. Where x_t already shows x_0, the network need not reproduce it.
        An untrained network, whose output is 0, gives the linear estimate. And the velocity
        (x_t - x_0) / t has no pole at t = 0, because s^2 - (1 - t) = t (2 t - 1):

            v = ((2 t - 1) x_t / s - F) / s.

        Args:
            x_t: State of the flow (B, C, H / f, W / f).
            t: Flow times (B,) in [0, 1].
            condition: Condition of the LR images.

        Returns:
            Velocity (B, C, H / f, W / f), float32.
        """
        if self.config.prediction == "velocity":
            return self._run(x_t, t, condition)
        time = expand(t, x_t)
        s = ((1 - time).square() + time.square()).sqrt()
        return ((2 * time - 1) * x_t / s - self._run(x_t / s, t, condition)) / s

    def euler_weights(self, t: float, t_next: float) -> tuple[float, float, float]:
        """Return the numbers c, a and b of an Euler step in terms of the network's output F.

        The step x_t + (t_next - t) v equals a x_t + b F(c x_t, t), with v of `forward`. Where a is
        0, as in a single step from noise to data, x_t itself is not needed.
        """
        step = t_next - t
        if self.config.prediction == "velocity":
            return 1.0, 1.0, step
        variance = (1 - t) ** 2 + t**2
        scale = variance**-0.5
        return scale, 1 + step * (2 * t - 1) / variance, -step * scale

    def _run(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the output F of the network, float32."""
        if condition.context is None or not self.config.context_dim:
            context = None
        else:
            # In training the blocks compute their keys and values themselves: then gradient
            # checkpointing need not keep them. In sampling they are computed once for all steps.
            context = self.embed(condition) if torch.is_grad_enabled() else condition.memory(self)
        prediction = self.net(
            torch.cat([x, condition.features(self.stem)], dim=1), t, context, condition.mask
        )
        if self.head is not None:
            prediction = self.head(prediction, condition.lr)
        return prediction.float()

    def embed(self, condition: Condition) -> Tensor:
        """Return the context (B, L, context_dim); indices are replaced by their embeddings."""
        assert condition.context is not None
        return condition.context if self.tag_table is None else self.tag_table(condition.context)

    def loss(
        self, x_0: Tensor, noise: Tensor, t: Tensor, condition: Condition, l1_weight: float = 0.0
    ) -> Tensor:
        """Return the loss of each sample: `mean (v_hat - v)^2 + l1_weight mean |x_0_hat - x_0|`.

        v_hat is the predicted velocity. The first term is conditional flow matching (arXiv
        2210.02747). The second compares the data that the two velocities point to, which are
        x_0_hat = x_t - t v_hat and x_0 = x_t - t v: they differ by t (v - v_hat).

        Args:
            x_0: Data of the flow (B, C, H / f, W / f), from `encode`.
            noise: Standard normal noise of the same shape.
            t: Flow times (B,) in [0, 1].
            condition: Condition of the LR images.
            l1_weight: Weight of the second term.

        Returns:
            Loss (B,).
        """
        error = (self(interpolate(x_0, noise, t), t, condition) - velocity(x_0, noise)).flatten(1)
        loss = error.square().mean(1)
        return loss + l1_weight * t * error.abs().mean(1) if l1_weight else loss
