"""RealLQDataModule: real low-quality photographs without ground truth, such as RealLQ250."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from datamodules.pairs import FIXED_DRAW, middle, noise_seed, spread, to_model_range, to_tensor
from datamodules.sample_stream import SampleStreamDataModule, check_sizes
from lsr.datasets.tags import TAGS, FolderTags
from lsr.images import find_images, probe, read_rgb8


class LowQualityPhotographs(Dataset[dict[str, Any]]):
    """Photographs: `lr` (3, h, w), float32 in [-1, 1], `seed`, an integer in [0, 2^31), and `tags`, separated by commas.

    Args:
        folder: Searched recursively.
        seed: Seed of the noise.
        max_images: Photographs used at most, evenly spread; None uses all.
        max_side: Longest side in pixels; what is longer is reduced to its middle. None takes photographs whole.
        tags_file: Name of the list of tags in the folder.

    Raises:
        ValueError: If there are none.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        max_images: int | None = None,
        max_side: int | None = None,
        tags_file: str = TAGS,
    ) -> None:
        if not folder.is_dir():
            raise ValueError(
                f"{folder}: no such folder (RealLQ250, 250 photographs of 256 x 256 pixels, is to be fetched from its authors)"
            )

        paths = find_images(folder)
        if not paths:
            raise ValueError(f"{folder}: no photographs there")
        self.paths = [paths[i] for i in spread(len(paths), max_images)]
        self.seed, self.max_side = seed, max_side
        self._tags = FolderTags(folder, tags_file)

    def __len__(self) -> int:
        return len(self.paths)

    def texts(self) -> Iterator[str]:
        """Yield the tags of every photograph, separated by commas."""
        return (", ".join(self._tags(path)) for path in self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        image = read_rgb8(path)
        return {
            "lr": to_model_range(
                to_tensor(image if self.max_side is None else middle(image, self.max_side))
            ),
            "seed": noise_seed(self.seed, FIXED_DRAW, index),
            "tags": ", ".join(self._tags(path)),
        }


class RealLQDataModule(SampleStreamDataModule):
    """Photographs to validate, test and predict on, for metrics without reference (`--model.val_metrics '[niqe]'`).

    Args:
        folder: The photographs, RealLQ250 for one.
        max_images: Photographs used at most, evenly spread; None uses all.
        val_batch_size: Photographs per device; more than 1 needs photographs of one size.
        seed: Seed of the noise.

    Raises:
        ValueError: If `max_images` is below 1.
    """

    def __init__(
        self, folder: str, max_images: int | None = None, val_batch_size: int = 1, seed: int = 0
    ) -> None:
        super().__init__(val_batch_size, val_batch_size, num_workers=0, seed=seed)
        check_sizes(1, max_images)
        self.folder, self.max_images = Path(folder), max_images

    def setup(self, stage: str) -> None:
        """Find the photographs.

        Raises:
            ValueError: If there are none, or for training: they have no ground truth.
        """
        if stage == "fit":
            raise ValueError("RealLQDataModule has no ground truth to train on")
        photographs = LowQualityPhotographs(self.folder, self.seed, self.max_images)
        for split in ("val", "test"):
            self._keep_fixed(split, photographs, {probe(path) for path in photographs.paths})
