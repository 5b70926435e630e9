"""PairedDataModule: LR and HR photographs that exist as files: RealSR, DRealSR, DIV2K-Val."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from datamodules.crops import (
    FIXED_EPOCH,
    crop_and_flip,
    noise_seed,
    spread,
    to_model_range,
    to_tensor,
)
from datamodules.sample_stream import MAX_PHOTOGRAPHS, SampleStreamDataModule, check_sizes
from lsr.datasets.paired_folders import find_pairs, fits, paired_folders, teacher_files
from lsr.datasets.tags import FolderTags
from lsr.images import UnreadableImage, probe, read_rgb8

log = logging.getLogger(__name__)


class PhotographPairs(Dataset[dict[str, Any]]):
    """Pairs of files: whole ones, by their index, or random aligned crops, by `(epoch, index)`.

    A sample has `hr` (3, scale h, scale w) and `lr` (3, h, w), float32 in [-1, 1], `seed`, an
    integer in [0, 2^31), and `tags`, the tags of the HR photograph separated by commas.

    A damaged pair that a crop is needed of is named in a warning, once per process, and replaced by
    the next good pair; so the training stream continues. A damaged pair that is needed whole is an
    error, because its replacement would count twice in a metric.

    Args:
        folder: The data set, with folders as in `lsr.datasets.paired_folders`.
        scale: HR pixels per LR pixel along each axis.
        crop_size: Side of random HR crops in pixels; None gives whole photographs.
        seed: Seed of crops, flips and noise.
        max_images: Largest number of pairs to use, evenly spread; None uses all.
        teacher: Folder of another model's results for the LR photographs, of the same names; a
            sample then has `teacher` too, of the size of `hr`.

    Attributes:
        pairs: The (LR, HR) files.
        sizes: The different (width, height) of the HR photographs, which are cut to a multiple of
            `scale` as their LR photographs are.

    Raises:
        ValueError: A photograph has no partner or cannot be read, the sizes of a pair do not fit
            `scale`, or a photograph is smaller than a crop.
    """

    def __init__(
        self,
        folder: Path,
        scale: int,
        crop_size: int | None,
        seed: int,
        max_images: int | None = None,
        teacher: Path | None = None,
    ) -> None:
        lr_folder, hr_folder = paired_folders(folder, scale)
        pairs = find_pairs(lr_folder, hr_folder)
        self.pairs = [pairs[i] for i in spread(len(pairs), max_images)]
        self.scale = scale
        self.crop_size = crop_size
        self.seed = seed
        self.sizes = {self._checked_size(lr, hr) for lr, hr in self.pairs}
        self.teacher = None if teacher is None else teacher_files(teacher, lr_folder, self.pairs)
        for (lr, _), made in zip(self.pairs, self.teacher or [], strict=False):
            self._checked_size(lr, made)
        self._tags = FolderTags(hr_folder)
        self._damaged: set[int] = set()

    def _checked_size(self, lr: Path, hr: Path) -> tuple[int, int]:
        """Return (width, height) of the part of an HR photograph that belongs to its LR.

        Raises:
            ValueError: The HR photograph does not fit, or is smaller than a crop.
        """
        small = probe(lr)
        large = probe(hr)
        wanted = small[0] * self.scale, small[1] * self.scale
        if not fits(large, wanted, self.scale):
            raise ValueError(
                f"{hr} has {large[0]} x {large[1]} pixels, which is not {self.scale} times the "
                f"{small[0]} x {small[1]} of {lr}"
            )
        large = wanted
        if self.crop_size is not None and min(large) < self.crop_size:
            raise ValueError(f"{hr}: shorter side {min(large)} is below crop_size {self.crop_size}")
        return large

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, Any]:
        if not isinstance(key, tuple):
            return self._sample(FIXED_EPOCH, key, self._read(key))
        epoch, index = key
        for candidate in range(index, index + len(self)):
            candidate %= len(self)
            if candidate in self._damaged:
                continue
            try:
                images = self._read(candidate)
            except UnreadableImage as error:
                log.warning("replaced by the next pair: %s", error)
                self._damaged.add(candidate)
                continue
            return self._sample(epoch, candidate, self._crop(epoch, index, images))
        raise ValueError("every pair of photographs is damaged: see the warnings above for each")

    def _crop(self, epoch: int, index: int, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the same random part of all images of a pair, all mirrored or none."""
        assert self.crop_size is not None
        size = self.crop_size // self.scale
        top, left, mirrored = crop_and_flip(self.seed, epoch, index, images["lr"].shape, size)
        step = -1 if mirrored else 1
        crops = {}
        for name, image in images.items():
            s = 1 if name == "lr" else self.scale
            crop = image[s * top : s * (top + size), s * left : s * (left + size)]
            crops[name] = crop[:, ::step]
        return crops

    def texts(self) -> Iterator[str]:
        """Yield the tags of every HR photograph, separated by commas."""
        return (", ".join(self._tags(hr)) for _, hr in self.pairs)

    def _read(self, index: int) -> dict[str, np.ndarray]:
        """Return the images of a pair, (H, W, 3) uint8 each, by their names in a sample."""
        lr, hr = (read_rgb8(path) for path in self.pairs[index])
        height, width = (self.scale * side for side in lr.shape[:2])
        images = {"lr": lr, "hr": hr[:height, :width]}
        if self.teacher:
            images["teacher"] = read_rgb8(self.teacher[index])[:height, :width]
        return images

    def _sample(self, epoch: int, index: int, images: dict[str, np.ndarray]) -> dict[str, Any]:
        tensors = {name: to_model_range(to_tensor(image)) for name, image in images.items()}
        return tensors | {
            "seed": noise_seed(self.seed, epoch, index),
            "tags": ", ".join(self._tags(self.pairs[index][1])),
            "name": str(self.pairs[index][1]),
        }


class PairedDataModule(SampleStreamDataModule):
    """Pairs of photographs that were taken at two focal lengths, or degraded by someone else.

    The LR photographs are `scale` times smaller than the HR photographs, as in DIV2K-Val and in the
    cropped test sets of RealSR and DRealSR. RealSR's own release, whose LR photographs have been
    enlarged, is refused.

    A batch has `hr`, `lr`, `seed` and `tags`, see `lsr.batch.Batch`, and in training `teacher` if
    there is a folder of them. Validation and test use whole photographs, one at a time if their
    sizes differ.

    Args:
        train: Training data set, with an LR and an HR folder as in `lsr.datasets.paired_folders`;
            None if there is no training.
        val: Data set of validation.
        test: Data set of `lsr test` and `lsr predict`.
        scale: HR pixels per LR pixel along each axis.
        crop_size: Side of the HR crops in training, in pixels.
        max_images: Largest number of pairs in validation and test, evenly spread; None uses all.
        batch_size: Pairs per device and step.
        val_batch_size: Pairs per device in validation; more than 1 needs photographs of one size.
        num_workers: Number of worker processes of the training loader.
        seed: Seed of order, crops and noise.
        teacher: Folder of another model's results for the LR photographs of `train`, of the same
            names: targets of a one-step student (stage 3).

    Raises:
        ValueError: A setting is out of range.
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
        teacher: str | None = None,
    ) -> None:
        super().__init__(batch_size, val_batch_size, num_workers, seed)
        check_sizes(scale, max_images, crop_size=crop_size)
        self.folders = {"train": train, "val": val, "test": test}
        self.scale = scale
        self.crop_size = crop_size
        self.max_images = max_images
        self.teacher = Path(teacher) if teacher else None

    def setup(self, stage: str) -> None:
        """Find the pairs of a stage.

        Args:
            stage: "fit", "validate", "test" or "predict".

        Raises:
            ValueError: No data set is named for the stage, or its pairs are not usable.
        """
        if stage == "fit" and self._training is None:
            training = PhotographPairs(
                self._folder("train"),
                self.scale,
                self.crop_size,
                self.seed,
                teacher=self.teacher,
            )
            self._training = training
            self._lengths = [len(training)]
        split = "val" if stage in ("fit", "validate") else "test"
        if split not in self._fixed:
            pairs = PhotographPairs(
                self._folder(split), self.scale, None, self.seed, self.max_images
            )
            self._keep_fixed(split, pairs, pairs.sizes)

    def photographs(self) -> Iterator[np.ndarray]:
        """Yield at most `MAX_PHOTOGRAPHS` HR training photographs, (H, W, 3) uint8."""
        assert isinstance(self._training, PhotographPairs)
        pairs = self._training.pairs
        return (read_rgb8(pairs[index][1]) for index in spread(len(pairs), MAX_PHOTOGRAPHS))

    def _folder(self, split: str) -> Path:
        folder = self.folders[split]
        if folder is None:
            raise ValueError(
                f"PairedDataModule has no {split}: set data.init_args.{split} to the folder of a "
                "data set with LR and HR photographs"
            )
        return Path(folder)
