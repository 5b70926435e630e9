"""PairedDataModule: LR and HR photographs that exist as files, as in RealSR, DRealSR and DIV2K-Val."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from datamodules.pairs import (
    FIXED_DRAW,
    crop_and_flip,
    noise_seed,
    spread,
    to_model_range,
    to_tensor,
)
from datamodules.sample_stream import MAX_PHOTOGRAPHS, SampleStreamDataModule, check_sizes
from lsr.datasets.paired_folders import find_pairs, paired_folders
from lsr.datasets.tags import FolderTags
from lsr.images import UnreadableImage, probe, read_rgb8

log = logging.getLogger(__name__)


class PhotographPairs(Dataset[dict[str, Any]]):
    """Pairs of files, whole and always the same, or as aligned random crops addressed by `(draw, index)`.

    A pair of crops that turns out to be damaged is named and replaced by the next good one, so that its place in the data stream
    stays filled; a damaged whole pair is an error, for it would count twice in a score.

    A sample has `hr` (3, scale h, scale w) and `lr` (3, h, w), float32 in [-1, 1], `seed`, an integer in [0, 2^31), and `tags` of
    the HR photograph, separated by commas.

    Args:
        folder: The data set, see `lsr.datasets.paired_folders`.
        scale: How much larger the HR photographs are.
        crop_size: Side of random HR crops in pixels; None gives whole photographs.
        seed: Seed of crops, flips and noise.
        max_images: Pairs used at most, evenly spread; None uses all.

    Raises:
        ValueError: If a pair is not complete, not a photograph, of other proportions, or smaller than a crop.
    """

    def __init__(
        self,
        folder: Path,
        scale: int,
        crop_size: int | None,
        seed: int,
        max_images: int | None = None,
    ) -> None:
        lr_folder, hr_folder = paired_folders(folder)
        pairs = find_pairs(lr_folder, hr_folder)
        self.pairs = [pairs[i] for i in spread(len(pairs), max_images)]
        self.scale, self.crop_size, self.seed = scale, crop_size, seed
        self.sizes: set[tuple[int, int]] = set()
        for lr, hr in self.pairs:
            small, large = probe(lr), probe(hr)
            if large != (small[0] * scale, small[1] * scale):
                raise ValueError(
                    f"{hr} has {large[0]} x {large[1]} pixels, which is not {scale} times the {small[0]} x {small[1]} of {lr}"
                )
            if crop_size is not None and min(large) < crop_size:
                raise ValueError(f"{hr}: shorter side {min(large)} is below crop_size {crop_size}")
            self.sizes.add(large)
        self._tags = FolderTags(hr_folder)
        self._damaged: set[int] = set()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, Any]:
        if not isinstance(key, tuple):
            return self._sample(FIXED_DRAW, key, *self._read(key))
        draw, index = key
        for candidate in range(index, index + len(self)):
            candidate %= len(self)
            if candidate in self._damaged:
                continue
            try:
                lr, hr = self._read(candidate)
            except UnreadableImage as error:
                log.warning("replaced by its neighbour: %s", error)
                self._damaged.add(candidate)
                continue
            assert self.crop_size is not None
            size = self.crop_size // self.scale
            top, left, mirrored = crop_and_flip(self.seed, draw, index, lr.shape, size)
            lr, hr = (
                image[s * top : s * (top + size), s * left : s * (left + size)][
                    :, :: -1 if mirrored else 1
                ]
                for image, s in ((lr, 1), (hr, self.scale))
            )
            return self._sample(draw, candidate, lr, hr)
        raise ValueError("none of the pairs can be read any more")

    def texts(self) -> Iterator[str]:
        """Yield the tags of every HR photograph, separated by commas."""
        return (", ".join(self._tags(hr)) for _, hr in self.pairs)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        lr, hr = self.pairs[index]
        return read_rgb8(lr), read_rgb8(hr)

    def _sample(self, draw: int, index: int, lr: np.ndarray, hr: np.ndarray) -> dict[str, Any]:
        return {
            "lr": to_model_range(to_tensor(lr)),
            "hr": to_model_range(to_tensor(hr)),
            "seed": noise_seed(self.seed, draw, index),
            "tags": ", ".join(self._tags(self.pairs[index][1])),
        }


class PairedDataModule(SampleStreamDataModule):
    """Photographs taken at two focal lengths, or degraded by someone else, instead of synthetic pairs.

    The LR photographs are `scale` times smaller, as in DIV2K-Val and in the cropped test sets of RealSR and DRealSR; RealSR's own
    release, whose LR photographs have been enlarged, is refused.

    A batch has `hr`, `lr`, `seed` and `tags` as one of `RealESRGANDataModule`. Validation and test use whole photographs, one at a
    time where their sizes differ.

    Args:
        train: Data set with an LR and an HR folder, see `lsr.datasets.paired_folders`; None to validate and test alone.
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
        check_sizes(scale, max_images, crop_size=crop_size)
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
            pairs = PhotographPairs(
                self._folder(split), self.scale, None, self.seed, self.max_images
            )
            self._keep_fixed(split, pairs, pairs.sizes)

    def photographs(self) -> Iterator[np.ndarray]:
        """Yield HR photographs of the training pairs, (H, W, 3) uint8, at most `MAX_PHOTOGRAPHS`, evenly spread."""
        assert isinstance(self._training, PhotographPairs)
        pairs = self._training.pairs
        return (read_rgb8(pairs[index][1]) for index in spread(len(pairs), MAX_PHOTOGRAPHS))

    def _folder(self, split: str) -> Path:
        folder = self.folders[split]
        if folder is None:
            raise ValueError(
                f"PairedDataModule has no {split}: name the folder of a data set with pairs"
            )
        return Path(folder)
