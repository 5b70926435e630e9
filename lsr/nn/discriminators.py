"""Networks that tell real images from generated ones: on pixels, and on features of a denoiser."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def _convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Module:
    """Return a convolution without bias whose weights have the spectral norm 1."""
    layer = nn.Conv2d(before, after, kernel, stride, padding=(kernel - 1) // 2, bias=False)
    return spectral_norm(layer)


class UNetDiscriminator(nn.Module):
    """U-Net with spectral normalisation that judges every pixel (Real-ESRGAN, arXiv 2107.10833).

    Three convolutions of stride 2 lead down, three bilinear enlargements lead up, and each level
    adds the features of the way down. So a pixel is judged by its texture and by its surroundings.

    Args:
        channels: Channels at full size; they double at each level. Real-ESRGAN has 64.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        c = channels
        self.first = nn.Conv2d(3, c, 3, padding=1)
        self.down = nn.ModuleList(
            _convolution(c << level, c << (level + 1), 4, 2) for level in range(3)
        )
        self.up = nn.ModuleList(
            _convolution(c << (level + 1), c << level, 3) for level in reversed(range(3))
        )
        self.last = nn.Sequential(
            _convolution(c, c, 3),
            nn.LeakyReLU(0.2),
            _convolution(c, c, 3),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c, 1, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W), H and W of at least 8, to logits (B, 1, H, W): above 0 is real.

        Sides need not be multiples of 8.
        """
        return self.last(self.features(image)[-1])

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the features of images after each layer before `last`, first down, then up."""
        # In this layout of memory a CPU takes half the time.
        x = image.contiguous(memory_format=torch.channels_last)
        found = [F.leaky_relu(self.first(x), 0.2)]
        for convolution in self.down:
            found.append(F.leaky_relu(convolution(found[-1]), 0.2))
        skips = found[:-1]
        for convolution in self.up:
            skip = skips.pop()
            x = F.interpolate(found[-1], skip.shape[-2:], mode="bilinear", align_corners=False)
            found.append(F.leaky_relu(convolution(x), 0.2) + skip)
        return found


class FeatureHead(nn.Module):
    """Small spectrally normalised network on the features of one block of a frozen denoiser.

    Args:
        width: Channels of the features.
        channels: Channels of the head.
    """

    def __init__(self, width: int, channels: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(width, channels, 1),
            nn.LeakyReLU(0.2),
            _convolution(channels, channels, 3),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 1, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, width, H, W) to logits (B, 1, H, W): above 0 is real."""
        return self.layers(features)
