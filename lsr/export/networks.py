"""The networks that an ONNX file holds: the velocity of the flow, or one whole sampling step.

They take LR images in [0, 1] of any size, and give SR images with the colours of the LR image, as
`lsr upscale` does. In shapes, s is the scale, f the number of image pixels per latent position and
axis, H is s (h + 2 m) / f rounded up with the margin m of `Denoiser.margin`, and W alike.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from lsr.images.resampling import upsample_bicubic
from lsr.models.condition import Condition
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture, picture_grid

_FLAT = 1e-6
"""Smallest standard deviation that colours are divided by, as in `lsr.inference.color_fix`."""


class VelocityNetwork(nn.Module):
    """Velocity of the flow and, in pixel space, the image that it points to.

    Args:
        denoiser: The denoiser, of which a copy is used. It gets no tags, texts or image features.
        dtype: Type of the weights and the layers. Sums of attention, flow and images are float32
            for every type.
    """

    inputs = "lr", "x_t", "t"

    def __init__(self, denoiser: Denoiser, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.denoiser = copy.deepcopy(denoiser).to(dtype)
        if dtype != torch.float32:
            for name in ("stem", "net", "head"):
                layers = getattr(self.denoiser, name)
                setattr(self.denoiser, name, layers and _Rounded(layers, dtype))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the results of `forward`."""
        return ("velocity",) if self.denoiser.config.autoencoder else ("velocity", "sr")

    def forward(self, lr: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """Return the velocity (B, C, H, W) and the SR images (B, 3, s h, s w) it points to.

        The second is the picture of the data x_0 = x_t - t v, in [0, 1]. It is left out for a model
        with an autoencoder.

        Args:
            lr: LR images (B, 3, h, w) in [0, 1].
            x_t: States of the flow (B, C, H, W); at t = 1 they are standard normal noise.
            t: Flow times (B,) in [0, 1].
        """
        multiple = self.denoiser.lr_multiple
        size = [multiple * side for side in x_t.shape[2:]]
        padded = _repeated(lr, size, self.denoiser.margin) * 2 - 1
        no_base = torch.zeros_like(x_t)  # only the SR image needs it, as pixels
        velocity = self.denoiser(x_t, t, Condition(padded, no_base))
        if self.denoiser.config.autoencoder:
            return (velocity,)
        x_0 = x_t - t[:, None, None, None] * velocity
        return velocity, self._picture(x_0, padded, lr)

    def example(self, batch: int, height: int, width: int, seed: int) -> tuple[Tensor, ...]:
        """Return random arguments of `forward` for LR images of a size."""
        generator = torch.Generator().manual_seed(seed)
        grid = picture_grid(self.denoiser, height, width)
        return (
            torch.rand(batch, 3, height, width, generator=generator),
            torch.randn(batch, self.denoiser.space.channels, *grid, generator=generator),
            torch.rand(batch, generator=generator),
        )

    def _picture(self, x_0: Tensor, padded: Tensor, lr: Tensor) -> Tensor:
        """Return SR images in [0, 1] of data x_0; `padded` are LR images in [-1, 1]."""
        config = self.denoiser.config
        base = upsample_bicubic(padded, config.scale)
        image = self.denoiser.space.decode(x_0)
        image = image * config.residual_std + base if config.residual_std else image
        height, width = (config.scale * side for side in lr.shape[2:])
        first = config.scale * self.denoiser.margin
        sr, base = (
            each[:, :, first : first + height, first : first + width] / 2 + 0.5
            for each in (image.clamp(-1, 1), base)
        )
        return _coloured(sr, base).clamp(0, 1)


class OneStep(nn.Module):
    """The whole map of one sampling step: the picture that the velocity at t = 1 points to.

    Args:
        network: Velocity network in pixel space.
    """

    inputs = "lr", "noise"
    outputs = ("sr",)

    def __init__(self, network: VelocityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor, noise: Tensor) -> tuple[Tensor]:
        """Return SR images (B, 3, s h, s w) in [0, 1].

        Args:
            lr: LR images (B, 3, h, w) in [0, 1].
            noise: Standard normal noise (B, C, H, W).
        """
        time = torch.ones_like(noise[:, 0, 0, 0])
        return (self.network(lr, noise, time)[1],)

    def example(self, batch: int, height: int, width: int, seed: int) -> tuple[Tensor, ...]:
        """Return random arguments of `forward` for LR images of a size."""
        return self.network.example(batch, height, width, seed)[:2]


class ExpertsNetwork(nn.Module):
    """The velocities of a mixture: the first time of a batch chooses the expert of all its images.

    Args:
        mixture: The experts.
        dtype: See `VelocityNetwork`.

    Attributes:
        experts: A velocity network for every expert.
        boundaries: Times that separate the experts.
    """

    inputs = "lr", "x_t", "t"

    def __init__(self, mixture: ExpertMixture, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.experts = nn.ModuleList(VelocityNetwork(each, dtype) for each in mixture.denoisers)
        self.boundaries = mixture.boundaries

    def expert(self, index: int) -> VelocityNetwork:
        """Return the network of an expert; 0 is the one of the least noisy times."""
        return cast(VelocityNetwork, self.experts[index])

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the results of `forward`."""
        return self.expert(0).outputs

    def forward(self, lr: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """Return the results of one expert, see `VelocityNetwork.forward`."""
        index = torch.bucketize(t[0], torch.tensor(self.boundaries), right=True)
        return self.experts[int(index)](lr, x_t, t)

    def example(self, batch: int, height: int, width: int, seed: int) -> tuple[Tensor, ...]:
        """Return random arguments of `forward`; seeds from 0 take the experts in turn."""
        lr, x_t, t = self.expert(0).example(batch, height, width, seed)
        edges = [0.0, *self.boundaries, 1.0]
        low, high = edges[seed % len(self.experts) :][:2]
        return lr, x_t, low + t * (high - low)


class _Rounded(nn.Module):
    """Layers whose weights have another type; the images that they get are converted to this type.

    Flow times stay float32, because their embedding multiplies them by 1000.
    """

    def __init__(self, layers: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self._layers = layers
        self._dtype = dtype

    def forward(self, *arguments: Tensor | None) -> Tensor:
        return self._layers(
            *(
                each.to(self._dtype) if each is not None and each.ndim == 4 else each
                for each in arguments
            )
        )


def _repeated(image: Tensor, size: list[int], margin: int) -> Tensor:
    """Return images (B, C, *size) whose outermost rows and columns are repeated.

    Args:
        image: Images (B, C, h, w).
        size: Height and width.
        margin: Rows above and columns left of the images; the rest is below and right of them.
    """
    for axis, length in zip((2, 3), size, strict=True):
        index = torch.arange(length, device=image.device) - margin
        index = index.clamp(0, image.shape[axis] - 1)
        image = image.index_select(axis, index)
    return image


def _coloured(sr: Tensor, base: Tensor) -> Tensor:
    """Return SR images with the mean and deviation of every channel of `base`, both in [0, 1].

    This is `lsr.inference.color_fix.adain` for a batch, in float32.
    """
    mean, wanted = (each.mean((2, 3), keepdim=True) for each in (sr, base))
    centred = sr - mean
    deviation = centred.square().mean((2, 3), keepdim=True).sqrt().clamp(min=_FLAT)
    target = (base - wanted).square().mean((2, 3), keepdim=True).sqrt()
    return centred * (target / deviation) + wanted
