"""PairedDataModule: LR and HR photographs that exist as files, as in RealSR, DRealSR and DIV2K-Val."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.pairs import FIXED_DRAW, crop_and_flip, noise_seed, spread
from datamodules.sample_stream import SampleStreamDataModule
from lsr.images import probe, read_rgb8
from lsr.paired_folders import find_pairs, paired_folders
from lsr.tags import FolderTags


def to_tensor(image: np.ndarray) -> Tensor:
    """Return (H, W, 3) uint8 as (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 127.5 - 1


class PhotographPairs(Dataset[dict[str, Any]]):
    """Pairs of files, whole and always the same, or as aligned random crops addressed by `(draw, index)`.

    A sample has `hr` (3, scale h, scale w) and `lr` (3, h, w), float32 in [-1, 1], `seed`, an integer in [0, 2^31), and `tags` of
    the HR photograph, separated by commas.

    Args:
        folder: The data set, see `lsr.paired_folders`.
        scale: How much larger the HR photographs are.
        crop_size: Side of random HR crops in pixels; None gives whole photographs.
        seed: Seed of crops, flips and noise.
        max_images: Pairs used at most, evenly spread; None uses all.

    Raises:
        ValueError: If a pair is not complete, not a photograph, of other proportions, or smaller than a crop.
    """

    def __init__(self, folder: Path, scale: int, crop_size: int | None, seed: int, max_images: int | None = None) -> None:
        lr_folder, hr_folder = paired_folders(folder)
        pairs = find_pairs(lr_folder, hr_folder)
        self.pairs = [pairs[i] for i in spread(len(pairs), max_images)]
        self.scale, self.crop_size, self.seed = scale, crop_size, seed
        for lr, hr in self.pairs:
            small, large = probe(lr), probe(hr)
            if large != (small[0] * scale, small[1] * scale):
                raise ValueError(f"{hr} has {large[0]} x {large[1]} pixels, which is not {scale} times the {small[0]} x {small[1]} of {lr}")
            if crop_size is not None and min(large) < crop_size:
                raise ValueError(f"{hr}: shorter side {min(large)} is below crop_size {crop_size}")
        self._tags = FolderTags(hr_folder)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, Any]:
        draw, index = key if isinstance(key, tuple) else (FIXED_DRAW, key)
        lr_path, hr_path = self.pairs[index]
        lr, hr = read_rgb8(lr_path), read_rgb8(hr_path)
        if self.crop_size is not None:
            size = self.crop_size // self.scale
            top, left, mirrored = crop_and_flip(self.seed, draw, index, lr.shape, size)
            lr, hr = (
                image[s * top : s * (top + size), s * left : s * (left + size)][:, :: -1 if mirrored else 1]
                for image, s in ((lr, 1), (hr, self.scale))
            )
        return {
            "lr": to_tensor(lr),
            "hr": to_tensor(hr),
            "seed": noise_seed(self.seed, draw, index),
            "tags": ", ".join(self._tags(hr_path)),
        }


class PairedDataModule(SampleStreamDataModule):
    """Photographs taken at two focal lengths, or degraded by someone else, instead of synthetic pairs.

    A batch has `hr`, `lr`, `seed` and `tags` as one of `RealESRGANDataModule`. Validation and test use whole photographs, one at a
    time where their sizes differ.

    Args:
        train: Data set with an LR and an HR folder, see `lsr.paired_folders`; None to validate and test alone.
        val: Data set of validation.
        test: Data set of `lsr test` and `lsr predict`.
        scale: How much larger the HR photographs are.
        crop_size: Side of the HR crops in training, in pixels.
        max_images: Pairs used in validation and test at most, evenly spread; None uses all.
        batch_size: Pairs per device and step.
        val_batch_size: Pairs per device in validation; more than 1 needs photographs of one size.
        num_workers: Worker processes of the training loader.
        seed: Seed of order, crops and noise.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        scale: int = 4,
        crop_size: int = 256,
        max_images: int | None = None,
        batch_size: int = 16,
        val_batch_size: int = 1,
        num_workers: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_batch_size, num_workers, seed)
        if crop_size % scale:
            raise ValueError(f"crop_size {crop_size} is not a multiple of scale {scale}")
        if max_images is not None and max_images < 1:
            raise ValueError(f"max_images must be at least 1, not {max_images}")
        self.folders = {"train": train, "val": val, "test": test}
        self.scale, self.crop_size, self.max_images = scale, crop_size, max_images

    def setup(self, stage: str) -> None:
        """Find the pairs of the stage ("fit", "validate", "test" or "predict").

        Raises:
            ValueError: If there are none, or they do not fit each other.
        """
        if stage == "fit" and self._training is None:
            training = PhotographPairs(self._folder("train"), self.scale, self.crop_size, self.seed)
            self._training, self._lengths = training, [len(training)]
        split = "val" if stage in ("fit", "validate") else "test"
        if split not in self._fixed:
            self._keep_fixed(split, PhotographPairs(self._folder(split), self.scale, None, self.seed, self.max_images))

    def _folder(self, split: str) -> Path:
        folder = self.folders[split]
        if folder is None:
            raise ValueError(f"PairedDataModule has no {split}: name the folder of a data set with pairs")
        return Path(folder)
