"""Training and validation pairs: a crop of a photograph, and its synthetic low-resolution image.

Every random number of a sample is computed from a seed, the epoch and the index of the photograph.
So a sample is the same whichever worker or rank makes it, and in whatever order.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.image_source import ImageSource
from lsr.degradations import DegradationConfig, DegradationParameters, draw, pair
from lsr.degradations.filtering import unsharp_mask

# Values of `use` in `random_numbers`: "crop" and "noise" in ASCII.
_CROP = 0x63726F70
_NOISE = 0x6E6F697365

FIXED_EPOCH = 2**62
"""The epoch of samples that never change; no training reaches it."""


def random_numbers(seed: int, use: int, epoch: int, index: int) -> np.random.Generator:
    """Return the random generator for one purpose in one sample.

    Philox is a counter-based generator: different keys and counters give independent numbers.

    Args:
        seed: Seed of the data set.
        use: A constant that keeps the random numbers of different purposes apart.
        epoch: Number of the epoch.
        index: Number of the photograph.
    """
    return np.random.Generator(np.random.Philox(key=[seed, use], counter=[0, 0, epoch, index]))


def noise_seed(seed: int, epoch: int, index: int) -> int:
    """Return the seed in [0, 2^31) of the noise and the time that a model draws for a sample."""
    return int(random_numbers(seed, _NOISE, epoch, index).integers(2**31))


def crop_and_flip(
    seed: int, epoch: int, index: int, shape: Sequence[int], size: int
) -> tuple[int, int, bool]:
    """Draw the random crop of a sample.

    Args:
        seed: Seed of the data set.
        epoch: Number of the epoch.
        index: Number of the photograph.
        shape: Shape (H, W, ...) of the photograph.
        size: Side of the square crop in pixels.

    Returns:
        Top and left of the crop in pixels, and whether it is mirrored horizontally.
    """
    rng = random_numbers(seed, _CROP, epoch, index)
    top, left = (int(rng.integers(side - size + 1)) for side in shape[:2])
    return top, left, bool(rng.random() < 0.5)


def middle(image: np.ndarray, size: int) -> np.ndarray:
    """Return the middle of an image (H, W, ...), with sides of at most `size` pixels."""
    top, left = (max(0, side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def spread(length: int, limit: int | None) -> Sequence[int]:
    """Return at most `limit` of the indices 0 to `length` - 1, evenly spread; None returns all."""
    if limit is None or limit >= length:
        return range(length)
    return [i * length // limit for i in range(limit)]


def to_tensor(image: np.ndarray) -> Tensor:
    """Return an image (H, W, 3) uint8 as a tensor (3, H, W) uint8."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def to_model_range(image: Tensor) -> Tensor:
    """Map an image from uint8 to float32 in [-1, 1]."""
    return image.float() / 127.5 - 1


def training_target(hr: Tensor, config: DegradationConfig) -> Tensor:
    """Return the targets of HR crops, equal to those of `degrade`.

    Args:
        hr: HR crops (B, 3, H, W) uint8.
        config: The degradation. Of its settings only `usm_target`, which sharpens the target,
            matters: the target does not depend on the random parameters.

    Returns:
        (B, 3, H, W) float32 in [-1, 1].
    """
    image = hr.float() / 255
    if config.usm_target:
        image = torch.stack([unsharp_mask(one) for one in image])
    return image * 2 - 1


def degrade(
    hr: Tensor, parameters: Sequence[DegradationParameters], config: DegradationConfig
) -> tuple[Tensor, Tensor]:
    """Make training pairs on the device of the HR crops.

    Args:
        hr: HR crops (B, 3, H, W) uint8.
        parameters: Parameters of the degradation of each crop.
        config: The degradation from which the parameters were drawn.

    Returns:
        The targets (B, 3, H, W) and the LR images (B, 3, H / scale, W / scale), float32 in [-1, 1].
    """
    target, lr = pair(hr.float() / 255, parameters, config)
    return target * 2 - 1, lr * 2 - 1


class _Crops(Dataset[dict[str, Any]]):
    """Crops of photographs and their degraded counterparts: the common part of two data sets.

    Args:
        source: The photographs.
        config: The degradation.
        crop_size: Side of an HR crop in pixels.
        seed: Seed of crops, flips, degradations and noise.
    """

    def __init__(
        self, source: ImageSource, config: DegradationConfig, crop_size: int, seed: int
    ) -> None:
        self.source = source
        self.config = config
        self.crop_size = crop_size
        self.seed = seed

    def texts(self) -> Iterator[str]:
        """Yield the tags of every photograph, separated by commas."""
        return self.source.texts()

    def _sample(
        self, crop: np.ndarray, tags: Sequence[str], epoch: int, index: int
    ) -> tuple[dict[str, Any], DegradationParameters]:
        """Return a sample without LR, and the parameters of its degradation.

        Args:
            crop: HR crop (H, W, 3) uint8.
            tags: Tags of the photograph.
            epoch: Number of the epoch.
            index: Number of the photograph.
        """
        sample = {
            "hr": to_tensor(crop),
            "seed": noise_seed(self.seed, epoch, index),
            "tags": ", ".join(tags),
        }
        return sample, draw(self.config, self.seed, epoch, index)

    def _pair(self, sample: dict[str, Any], parameters: DegradationParameters) -> dict[str, Any]:
        """Return a sample of `_sample` with its LR, both images as float32 in [-1, 1]."""
        target, lr = degrade(sample["hr"][None], [parameters], self.config)
        return sample | {"hr": target[0], "lr": lr[0]}


class TrainingCrops(_Crops):
    """Random crops of photographs with random degradations.

    Sample `(epoch, index)` is a function of the epoch, the index of the photograph and the settings
    alone: it does not depend on the worker or rank that makes it, nor on earlier samples. Its crop,
    its degradation and its noise come from random generators that are seeded with the epoch and
    the index, see `random_numbers`.

    A sample has `hr` (3, H, W) and `lr` (3, H / scale, W / scale), float32 in [-1, 1], `seed`, an
    integer in [0, 2^31), and `tags`, a text with the tags separated by commas. With `deferred`, the
    DataModule makes the pair on the device later: `hr` is uint8, and instead of `lr` there is
    `degradation`, the parameters as a line of JSON.

    Args:
        source: The photographs.
        config: The degradation.
        crop_size: Side of an HR crop in pixels.
        seed: Seed of crops, flips, degradations and noise.
        deferred: Whether to leave the degradation to the device.
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

    def crop(self, epoch: int, index: int) -> tuple[np.ndarray, Sequence[str]]:
        """Return the crop (H, W, 3) uint8 of a photograph in an epoch, and the tags."""
        image, tags = self.source[index]
        top, left, mirrored = crop_and_flip(self.seed, epoch, index, image.shape, self.crop_size)
        crop = image[top : top + self.crop_size, left : left + self.crop_size]
        return crop[:, ::-1] if mirrored else crop, tags

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        pixels, tags = self.crop(epoch, index)
        sample, parameters = self._sample(pixels, tags, epoch, index)
        if self.deferred:
            return sample | {"degradation": parameters.to_json()}
        return self._pair(sample, parameters)


class FixedCrops(_Crops):
    """The centres of photographs with degradations that never change.

    A sample has the same entries as one of `TrainingCrops`. Every pair is made once, on the CPU,
    and kept, so that it is the same on every device.

    Args:
        source: The photographs.
        config: The degradation.
        crop_size: Side of an HR crop in pixels.
        seed: Seed of degradations and noise.
        max_images: Largest number of photographs to use, evenly spread; None uses all.
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
            crop = middle(image, self.crop_size)
            self._made[index] = self._pair(*self._sample(crop, tags, FIXED_EPOCH, index))
        return self._made[index]
