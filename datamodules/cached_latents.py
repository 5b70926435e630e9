"""Training crops whose latents were made beforehand by `lsr cache-latents`.

The cache holds the latents of the crops of the first `draws` epochs; later epochs use the same
crops again, each time with new degradations, noise and times. So runs with and without a cache have
the same samples in the first `draws` epochs.

The pixels of the crops are not cached: the LR image is made from the photograph anyway, and a PNG
of the crop would take longer to decode than most JPEGs and twenty times the space of the latent.
"""

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from datamodules.crops import TrainingCrops, to_tensor, training_target
from datamodules.image_source import ImageSource
from lsr.datasets.latents import LatentCache
from lsr.degradations import DegradationConfig


def _crc(pixels: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def _identity(crops: TrainingCrops) -> dict[str, Any]:
    """Return every setting that changes the targets of training crops.

    The photographs are represented by a digest of their sizes; `CachedCrops.crop` compares pixels.
    """
    sides = np.ascontiguousarray(crops.source.sides, np.int32)
    return {
        "crop_size": crops.crop_size,
        "seed": crops.seed,
        "usm_target": crops.config.usm_target,
        "photographs": hashlib.sha256(sides.tobytes()).hexdigest(),
    }


class TargetCrops(Dataset[dict[str, Any]]):
    """The training targets of the first epochs, in the order of a `LatentCache`.

    A sample has `hr` (3, H, W) float32 in [-1, 1], and `crc`, the CRC-32 of the crop's pixels
    before they are sharpened.

    Args:
        crops: The training crops.
        draws: Number of crops of each photograph, one for each of the first epochs.

    Attributes:
        identity: Identity of the crops, see `lsr.datasets.latents.LatentPlan.crops`.
    """

    def __init__(self, crops: TrainingCrops, draws: int) -> None:
        self._crops = crops
        self._draws = draws
        self.identity = _identity(crops)

    def __len__(self) -> int:
        return self._draws * len(self._crops.source)

    def __getitem__(self, position: int) -> dict[str, Any]:
        epoch, index = divmod(position, len(self._crops.source))
        pixels, _ = self._crops.crop(epoch, index)
        target = training_target(to_tensor(pixels)[None], self._crops.config)[0]
        return {"hr": target, "crc": _crc(pixels)}


class CachedCrops(TrainingCrops):
    """`TrainingCrops` whose samples have `latent` (C, h, w) too.

    The crops are those of the first `draws` epochs, over and over.

    Args:
        folder: Folder that `lsr cache-latents` wrote.
        source: The photographs.
        config: The degradation.
        crop_size: Side of an HR crop in pixels.
        seed: Seed of crops, flips, degradations and noise.
        deferred: Whether to leave the degradation to the device.

    Attributes:
        latents: The latents.

    Raises:
        ValueError: The latents are missing, not complete, or those of other crops.
    """

    def __init__(
        self,
        folder: Path,
        source: ImageSource,
        config: DegradationConfig,
        crop_size: int,
        seed: int,
        deferred: bool,
    ) -> None:
        super().__init__(source, config, crop_size, seed, deferred)
        self.latents = LatentCache(folder)
        self.latents.check_crops(_identity(self))

    def crop(self, epoch: int, index: int) -> tuple[np.ndarray, Sequence[str]]:
        """Return the crop (H, W, 3) uint8 of a photograph in an epoch, and the tags.

        Raises:
            ValueError: The pixels differ from those that the latent was made of.
        """
        cached_epoch = epoch % self.latents.plan.draws
        pixels, tags = super().crop(cached_epoch, index)
        if _crc(pixels) != self.latents.crc(cached_epoch, index):
            raise ValueError(
                f"{self.source.name(index)}: changed since its latent was made; run lsr "
                "cache-latents with another --out"
            )
        return pixels, tags

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        latent = self.latents.latent(epoch % self.latents.plan.draws, index)
        return super().__getitem__(key) | {"latent": latent}
