"""Refine predicted patches by convolutions that see across their borders."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.nn.patches import from_patches, to_patches

_CONVOLUTIONS_AROUND = 2
"""Convolutions besides those of the residual blocks: the first and the last one."""


class RefiningHead(nn.Module):
    """Convolutions on the pixel grid of the LR image that correct a prediction of patches.

    The last layer of the transformer computes every patch from one token, by a linear map, so
    neighbouring patches meet in a visible lattice and fine structure is limited by the width. This
    head sees the prediction of all patches near an LR pixel, and the LR image itself. It adds a
    correction, which is 0 at first, so that a head can be added to a trained denoiser.

    Args:
        patch_size: Image pixels per token and axis, p.
        scale: Upscaling factor, a divisor of `patch_size`.
        width: Channels of the convolutions.
        depth: Number of residual blocks of two convolutions.

    Attributes:
        reach: Number of LR pixels on each side of an LR pixel that its correction depends on.
    """

    def __init__(self, patch_size: int, scale: int, width: int, depth: int) -> None:
        super().__init__()
        self._patch_size = patch_size
        self._scale = scale
        channels = 3 * scale**2
        self.reach = 2 * depth + _CONVOLUTIONS_AROUND
        self.first = nn.Conv2d(channels + 3, width, 3, padding=1)
        self.blocks = nn.ModuleList(_ResidualBlock(width) for _ in range(depth))
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, prediction: Tensor, lr: Tensor) -> Tensor:
        """Return the corrected prediction.

        Args:
            prediction: Patches (B, 3 p^2, H, W) as `lsr.models.latent_space.PixelSpace` has them.
            lr: LR images (B, 3, h, w) in [-1, 1]; h is H p / scale, w is W p / scale.
        """
        image = from_patches(prediction, self._patch_size)
        seen = torch.cat([to_patches(image, self._scale), lr], dim=1)
        x = self.first(seen.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        correction = from_patches(self.last(F.silu(x)), self._scale)
        return to_patches(image + correction, self._patch_size)


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after SiLU, around which the input is passed on."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))
