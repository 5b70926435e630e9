"""The spaces a denoiser can work in. A space maps images to latents and back; the denoiser knows nothing else of it."""

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class LatentSpace(Protocol):
    """Maps images (B, 3, H, W) in [-1, 1] to latents (B, channels, H / factor, W / factor) of about unit scale.

    Attributes:
        channels: Channels of a latent.
        factor: Image pixels per latent position and axis; image sides must be multiples of it.
    """

    channels: int
    factor: int

    def prepare(self, compile: bool = False) -> None:
        """Load what the maps need; `compile` what is a network.

        Raises:
            ValueError: If it is missing.
        """
        ...

    def encode(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to latents."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Map latents to images (B, 3, H, W), not clipped."""
        ...


class PixelSpace:
    """The image itself, its pixels in patches: exact, orthogonal, without weights. White noise stays white noise.

    Args:
        patch_size: Side of a patch in pixels.
    """

    def __init__(self, patch_size: int = 8) -> None:
        self.factor = patch_size
        self.channels = 3 * patch_size**2

    def prepare(self, compile: bool = False) -> None:
        """Nothing is needed."""

    def encode(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to patches (B, 3 p^2, H / p, W / p)."""
        return F.pixel_unshuffle(image, self.factor)

    def decode(self, latent: Tensor) -> Tensor:
        """Map patches back to images."""
        return F.pixel_shuffle(latent, self.factor)
