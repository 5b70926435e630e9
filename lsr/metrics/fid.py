"""FID: one number for two sets of images."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from lsr.metrics.cards import CARDS
from lsr.metrics.quality import create
from lsr.metrics.weights import provide


class FrechetInceptionDistance:
    """pyiqa's `fid` between files.

    Args:
        weights: Folder with weights that go before those of torch's cache.

    Raises:
        MissingWeights: If weights are missing.
        ValueError: If weights are damaged.
    """

    def __init__(self, weights: Path | None = None) -> None:
        files = provide(["fid"], weights)
        self.files = [files[file] for file in CARDS["fid"].weights]
        """The files of weights that it uses."""
        self._metric = create("fid", files)

    def __call__(self, sr: Sequence[Path], hr: Sequence[Path], device: torch.device) -> float:
        """Return the distance between the features of two sets of image files, of at least two images each."""
        assert min(len(sr), len(hr)) > 1, "a covariance needs two images"
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            sides = [
                _linked(Path(folder) / side, paths) for side, paths in (("sr", sr), ("hr", hr))
            ]
            metric = self._metric.to(device)
            return float(metric(*map(str, sides), num_workers=0, verbose=False))


def _linked(folder: Path, paths: Sequence[Path]) -> Path:
    """Gather files in one folder, where pyiqa wants them."""
    folder.mkdir()
    for index, path in enumerate(paths):
        (folder / f"{index}{path.suffix}").symlink_to(path.resolve())
    return folder
