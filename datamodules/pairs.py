"""Training and validation pairs: a crop of a photograph and its synthetic low-resolution counterpart."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.image_source import ImageSource
from lsr.degradations import DegradationConfig, draw, pair

# Names of the uses of a seed.
_CROP, _NOISE = 0x63726F70, 0x6E6F697365
_VALIDATION = 2**62  # a draw that no training reaches


class _Pairs(Dataset[dict[str, Any]]):
    """Crops of photographs and their degraded counterparts.

    Args:
        source: The photographs.
        config: The degradation.
        crop_size: Side of an HR crop in pixels.
        seed: Seed of crops, flips, degradations and noise.
    """

    def __init__(self, source: ImageSource, config: DegradationConfig, crop_size: int, seed: int) -> None:
        self.source, self.config, self.crop_size, self.seed = source, config, crop_size, seed

    def _rng(self, use: int, draw_index: int, index: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self.seed, use], counter=[0, 0, draw_index, index]))

    def _make(self, crop: np.ndarray, draw_index: int, index: int) -> dict[str, Any]:
        """Degrade a crop (H, W, 3) uint8; the result is a function of the arguments and the settings alone.

        Returns:
            `hr` (3, H, W) and `lr` (3, h, w), both in [-1, 1], and `seed`, an integer in [0, 2^31) for the sample's noise.
        """
        image = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float() / 255
        target, lr = pair(image, [draw(self.config, self.seed, draw_index, index)], self.config)
        return {"hr": target[0] * 2 - 1, "lr": lr[0] * 2 - 1, "seed": int(self._rng(_NOISE, draw_index, index).integers(2**31))}


class TrainingPairs(_Pairs):
    """Random crops with random degradations, addressed by `(draw, index)`."""

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        draw_index, index = key
        image = self.source[index]
        rng = self._rng(_CROP, draw_index, index)
        top, left = (int(rng.integers(side - self.crop_size + 1)) for side in image.shape[:2])
        crop = image[top : top + self.crop_size, left : left + self.crop_size]
        return self._make(crop[:, ::-1] if rng.random() < 0.5 else crop, draw_index, index)


class FixedPairs(_Pairs):
    """The centre of every photograph with a degradation that never changes. Pairs are made once and kept."""

    def __init__(self, source: ImageSource, config: DegradationConfig, crop_size: int, seed: int) -> None:
        super().__init__(source, config, crop_size, seed)
        self._made: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index not in self._made:
            image = self.source[index]
            top, left = ((side - self.crop_size) // 2 for side in image.shape[:2])
            crop = image[top : top + self.crop_size, left : left + self.crop_size]
            self._made[index] = self._make(crop, _VALIDATION, index)
        return self._made[index]
