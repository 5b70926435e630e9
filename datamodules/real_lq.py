"""RealLQDataModule: real low-quality photographs without ground truth, such as RealLQ250."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from datamodules.crops import FIXED_EPOCH, middle, noise_seed, spread, to_model_range, to_tensor
from datamodules.sample_stream import SampleStreamDataModule, check_sizes
from lsr.datasets.layouts import find_layout
from lsr.datasets.tags import TAGS, FolderTags
from lsr.files import check_folder
from lsr.images import find_images, probe, read_rgb8


class LowQualityPhotographs(Dataset[dict[str, Any]]):
    """Photographs of a folder as LR images without ground truth.

    A sample has `lr` (3, h, w) float32 in [-1, 1], `seed`, an integer in [0, 2^31), and `tags`, a
    text with the tags separated by commas.

    Args:
        folder: Folder of the photographs, searched recursively.
        seed: Seed of the noise.
        max_images: Largest number of photographs to use, evenly spread; None uses all.
        max_side: Longest side in pixels; a longer photograph is cropped to its middle. None uses
            whole photographs.
        tags_file: Name of the list of tags in the folder.

    Attributes:
        paths: The photographs.

    Raises:
        ValueError: There is no such folder, or it holds no photographs.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        max_images: int | None = None,
        max_side: int | None = None,
        tags_file: str = TAGS,
    ) -> None:
        check_folder(
            folder,
            "; give a folder of photographs (RealLQ250, 250 of 256 x 256 pixels, must be "
            "downloaded from its authors)",
        )
        layout = find_layout(folder, None)
        if layout is not None:
            raise ValueError(
                f"{folder}: a data set of LR and HR photographs; name the LR folder, "
                f"{layout.lr}, or use datamodules.PairedDataModule"
            )
        paths = find_images(folder)
        if not paths:
            raise ValueError(f"{folder}: no photographs in this folder")
        self.paths = [paths[i] for i in spread(len(paths), max_images)]
        self.seed = seed
        self.max_side = max_side
        self._tags = FolderTags(folder, tags_file)

    def __len__(self) -> int:
        return len(self.paths)

    def texts(self) -> Iterator[str]:
        """Yield the tags of every photograph, separated by commas."""
        return (", ".join(self._tags(path)) for path in self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.paths[index]
        image = read_rgb8(path)
        if self.max_side is not None:
            image = middle(image, self.max_side)
        return {
            "lr": to_model_range(to_tensor(image)),
            "seed": noise_seed(self.seed, FIXED_EPOCH, index),
            "tags": ", ".join(self._tags(path)),
        }


class RealLQDataModule(SampleStreamDataModule):
    """Photographs without ground truth for validation, test and prediction.

    Their metrics must need no reference, such as `--model.val_metrics '[niqe]'`.

    Args:
        folder: Folder of the photographs, for example RealLQ250.
        max_images: Largest number of photographs to use, evenly spread; None uses all.
        val_batch_size: Photographs per device; more than 1 needs photographs of one size.
        seed: Seed of the noise.

    Raises:
        ValueError: `max_images` is below 1.
    """

    def __init__(
        self, folder: str, max_images: int | None = None, val_batch_size: int = 1, seed: int = 0
    ) -> None:
        super().__init__(val_batch_size, val_batch_size, num_workers=0, seed=seed)
        check_sizes(1, max_images)
        self.folder = Path(folder)
        self.max_images = max_images

    def setup(self, stage: str) -> None:
        """Find the photographs.

        Args:
            stage: "validate", "test" or "predict".

        Raises:
            ValueError: There are no photographs, or `stage` is "fit", for which they lack ground
                truth.
        """
        if stage == "fit":
            raise ValueError(
                "RealLQDataModule has no HR photographs to train on: use it with lsr validate or "
                "lsr test"
            )
        photographs = LowQualityPhotographs(self.folder, self.seed, self.max_images)
        for split in ("val", "test"):
            self._keep_fixed(split, photographs, {probe(path) for path in photographs.paths})
