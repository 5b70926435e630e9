"""Define the spaces in which a denoiser can work: each maps images to latents and back."""

from typing import Protocol

from torch import Tensor

from lsr.images.rows import Rows
from lsr.nn.patches import from_patches, to_patches


class LatentSpace(Protocol):
    """Map from images to latents and back: all that a denoiser knows about its space.

    Images are (B, 3, H, W) in [-1, 1], latents (B, channels, H / factor, W / factor) with a
    standard deviation of about 1.

    Attributes:
        channels: Channels of a latent.
        factor: Image pixels per latent position and axis. Image sides must be multiples of it.
    """

    channels: int
    factor: int

    def prepare(self, compile: bool = False) -> None:
        """Load the weights that `encode` and `decode` need, if any.

        Args:
            compile: Whether to compile the networks of `encode` and `decode`.

        Raises:
            ValueError: If the weights are missing.
        """
        ...

    def encode(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to latents (B, channels, H / factor, W / factor)."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Map latents to images (B, 3, H, W), whose values are not clipped to [-1, 1]."""
        ...

    def decode_rows(self, latent: Rows, rows: int | None = None) -> Rows:
        """Map one latent of any size to its image, row by row, with the result of `decode`.

        Args:
            latent: Blocks (channels, r, w) of the latent from top to bottom.
            rows: Image rows that are computed at a time. Fewer rows take less memory and more
                time. None chooses by the width.

        Yields:
            Blocks (3, r, factor w) of the image, float32, not clipped.
        """
        ...


class PixelSpace:
    """Space of patches: the pixels of a patch are the channels of one latent position.

    The map is exact, orthogonal and has no weights. It turns white noise into white noise.

    Args:
        patch_size: Side p of a patch in pixels.
    """

    def __init__(self, patch_size: int = 8) -> None:
        self.factor = patch_size
        self.channels = 3 * patch_size**2

    def prepare(self, compile: bool = False) -> None:
        """Do nothing: there are no weights."""

    def encode(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to patches (B, 3 p^2, H / p, W / p)."""
        return to_patches(image, self.factor)

    def decode(self, latent: Tensor) -> Tensor:
        """Map patches (B, 3 p^2, H / p, W / p) back to images (B, 3, H, W)."""
        return from_patches(latent, self.factor)

    def decode_rows(self, latent: Rows, rows: int | None = None) -> Rows:
        """Map the rows of patches of one image to its rows; see `LatentSpace.decode_rows`."""
        for block in latent:
            step = max(1, rows // self.factor) if rows else block.shape[1]
            for part in block.split(step, dim=1):
                yield from_patches(part, self.factor)
