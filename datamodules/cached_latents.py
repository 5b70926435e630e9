"""Training crops whose latents were made beforehand: which crops these are, and serving both together.

Kept are the latents of the first draws of every photograph; their pixels are not, since the LR image needs the photograph anyway, a
PNG of the crop would take longer to decode than most JPEGs and twenty times the room. Later draws repeat the crops of the first ones with
degradations, noise and times of their own. So a run without cached latents and one with them have the same samples in the first draws.
"""

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from datamodules.image_source import ImageSource
from datamodules.pairs import TrainingCrops, target, to_tensor
from lsr.datasets.latents import LatentCache
from lsr.degradations import DegradationConfig


def _crc(pixels: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def _identity(crops: TrainingCrops) -> dict[str, Any]:
    sides = np.ascontiguousarray(crops.source.sides, np.int32)
    return {
        "crop_size": crops.crop_size,
        "seed": crops.seed,
        "usm_target": crops.config.usm_target,
        "photographs": hashlib.sha256(sides.tobytes()).hexdigest(),
    }


class TargetCrops(Dataset[dict[str, Any]]):
    """The targets of the first draws, in the order of a cache: `hr` (3, H, W) float32 in [-1, 1], and `crc` of the crop's pixels.

    Args:
        crops: The training crops.
        draws: Draws of each photograph.

    Attributes:
        identity: What tells these crops from others, in plain values.
    """

    def __init__(self, crops: TrainingCrops, draws: int) -> None:
        self._crops, self._draws = crops, draws
        self.identity = _identity(crops)

    def __len__(self) -> int:
        return self._draws * len(self._crops.source)

    def __getitem__(self, position: int) -> dict[str, Any]:
        pixels, _ = self._crops.crop(*divmod(position, len(self._crops.source)))
        return {"hr": target(to_tensor(pixels)[None], self._crops.config)[0], "crc": _crc(pixels)}


class CachedCrops(TrainingCrops):
    """`TrainingCrops` with `latent` (C, h, w), of the first draws over and over.

    Args:
        folder: The latents.
        source: The photographs.
        config: The degradation.
        crop_size: Side of an HR crop in pixels.
        seed: Seed of crops, flips, degradations and noise.
        deferred: Leave the degradation to the device.

    Raises:
        ValueError: If the latents are not there, not complete, or of other crops.
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

    def crop(self, draw_index: int, index: int) -> tuple[np.ndarray, Sequence[str]]:
        """Return the crop and the tags, see `TrainingCrops.crop`.

        Raises:
            ValueError: If the pixels are not those that the latent was made of.
        """
        kept = draw_index % self.latents.plan.draws
        pixels, tags = super().crop(kept, index)
        if _crc(pixels) != self.latents.crc(kept, index):
            name = self.source.name(index)
            raise ValueError(
                f"{name}: not the pixels that its latent was made of; let lsr cache-latents make another folder"
            )
        return pixels, tags

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        draw_index, index = key
        return super().__getitem__(key) | {
            "latent": self.latents.latent(draw_index % self.latents.plan.draws, index)
        }
