"""Training and validation pairs: a crop of a photograph and its synthetic low-resolution counterpart."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.image_source import ImageSource
from lsr.degradations import DegradationConfig, DegradationParameters, draw, pair
from lsr.degradations.filtering import unsharp_mask

# Names of the uses of a seed.
_CROP, _NOISE = 0x63726F70, 0x6E6F697365

FIXED_DRAW = 2**62
"""The draw of everything that never changes; no training reaches it."""


def random_numbers(seed: int, use: int, draw_index: int, index: int) -> np.random.Generator:
    """Return the generator that belongs to one use of one draw of one sample."""
    return np.random.Generator(np.random.Philox(key=[seed, use], counter=[0, 0, draw_index, index]))


def noise_seed(seed: int, draw_index: int, index: int) -> int:
    """Return an integer in [0, 2^31) for the noise and the time that a model adds to a sample."""
    return int(random_numbers(seed, _NOISE, draw_index, index).integers(2**31))


def crop_and_flip(
    seed: int, draw_index: int, index: int, shape: Sequence[int], size: int
) -> tuple[int, int, bool]:
    """Draw where a square of `size` lies within an image of `shape` (H, W, ...), as (top, left), and whether it is mirrored."""
    rng = random_numbers(seed, _CROP, draw_index, index)
    top, left = (int(rng.integers(side - size + 1)) for side in shape[:2])
    return top, left, bool(rng.random() < 0.5)


def middle(image: np.ndarray, size: int) -> np.ndarray:
    """Return the middle of an image (H, W, ...), at most `size` pixels a side."""
    top, left = (max(0, side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def spread(length: int, limit: int | None) -> Sequence[int]:
    """Return `limit` of `length` indices, evenly spread; all of them where there are no more."""
    return (
        range(length)
        if limit is None or limit >= length
        else [i * length // limit for i in range(limit)]
    )


def to_tensor(image: np.ndarray) -> Tensor:
    """Return (H, W, 3) uint8 as (3, H, W) uint8."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def to_model_range(image: Tensor) -> Tensor:
    """Map uint8 to float32 in [-1, 1]."""
    return image.float() / 127.5 - 1


def target(hr: Tensor, config: DegradationConfig) -> Tensor:
    """Return the targets (B, 3, H, W) in [-1, 1] of HR crops (B, 3, H, W) uint8, as in `degrade`: they need no parameters."""
    image = hr.float() / 255
    return (
        torch.stack([unsharp_mask(one) for one in image]) if config.usm_target else image
    ) * 2 - 1


def degrade(
    hr: Tensor, parameters: Sequence[DegradationParameters], config: DegradationConfig
) -> tuple[Tensor, Tensor]:
    """Make pairs on the device of the HR crops.

    Args:
        hr: (B, 3, H, W) uint8.
        parameters: One for each crop.
        config: The law they were drawn from.

    Returns:
        (B, 3, H, W) and (B, 3, H / scale, W / scale), the target and the LR, float32 in [-1, 1].
    """
    target, lr = pair(hr.float() / 255, parameters, config)
    return target * 2 - 1, lr * 2 - 1


class _Crops(Dataset[dict[str, Any]]):
    """Crops of photographs and their degraded counterparts.

    Args:
        source: The photographs.
        config: The degradation.
        crop_size: Side of an HR crop in pixels.
        seed: Seed of crops, flips, degradations and noise.
    """

    def __init__(
        self, source: ImageSource, config: DegradationConfig, crop_size: int, seed: int
    ) -> None:
        self.source, self.config, self.crop_size, self.seed = source, config, crop_size, seed

    def texts(self) -> Iterator[str]:
        """Yield the tags of every photograph, separated by commas."""
        return self.source.texts()

    def _sample(
        self, crop: np.ndarray, tags: Sequence[str], draw_index: int, index: int
    ) -> tuple[dict[str, Any], DegradationParameters]:
        sample = {
            "hr": to_tensor(crop),
            "seed": noise_seed(self.seed, draw_index, index),
            "tags": ", ".join(tags),
        }
        return sample, draw(self.config, self.seed, draw_index, index)

    def _pair(self, sample: dict[str, Any], parameters: DegradationParameters) -> dict[str, Any]:
        target, lr = degrade(sample["hr"][None], [parameters], self.config)
        return sample | {"hr": target[0], "lr": lr[0]}


class TrainingCrops(_Crops):
    """Random crops with random degradations, addressed by `(draw, index)`: a function of the address and the settings alone.

    A sample has `hr` (3, H, W) and `lr` (3, H / scale, W / scale), float32 in [-1, 1], `seed`, an integer in [0, 2^31), and
    `tags`, separated by commas. With `deferred` the degradation is left to the device: `hr` is uint8 and `degradation` in place
    of `lr` holds the parameters as a line of JSON.

    Args:
        source: The photographs.
        config: The degradation.
        crop_size: Side of an HR crop in pixels.
        seed: Seed of crops, flips, degradations and noise.
        deferred: Leave the degradation to the device.
    """

    def __init__(
        self,
        source: ImageSource,
        config: DegradationConfig,
        crop_size: int,
        seed: int,
        deferred: bool,
    ) -> None:
        super().__init__(source, config, crop_size, seed)
        self.deferred = deferred

    def crop(self, draw_index: int, index: int) -> tuple[np.ndarray, Sequence[str]]:
        """Return the crop of a draw of a photograph, (H, W, 3) uint8, and the photograph's tags."""
        image, tags = self.source[index]
        top, left, mirrored = crop_and_flip(
            self.seed, draw_index, index, image.shape, self.crop_size
        )
        crop = image[top : top + self.crop_size, left : left + self.crop_size]
        return crop[:, ::-1] if mirrored else crop, tags

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        draw_index, index = key
        sample, parameters = self._sample(*self.crop(draw_index, index), draw_index, index)
        return (
            sample | {"degradation": parameters.to_json()}
            if self.deferred
            else self._pair(sample, parameters)
        )


class FixedCrops(_Crops):
    """The centre of photographs with a degradation that never changes. Pairs are made once, on the CPU, and kept.

    Args:
        source: The photographs.
        config: The degradation.
        crop_size: Side of an HR crop in pixels.
        seed: Seed of degradations and noise.
        max_images: Photographs used at most, evenly spread; None uses all.
    """

    def __init__(
        self,
        source: ImageSource,
        config: DegradationConfig,
        crop_size: int,
        seed: int,
        max_images: int | None,
    ) -> None:
        super().__init__(source, config, crop_size, seed)
        self._members = spread(len(source), max_images)
        self._made: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, position: int) -> dict[str, Any]:
        index = self._members[position]
        if index not in self._made:
            image, tags = self.source[index]
            self._made[index] = self._pair(
                *self._sample(middle(image, self.crop_size), tags, FIXED_DRAW, index)
            )
        return self._made[index]
