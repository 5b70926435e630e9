"""Fréchet inception distance (FID): one number that compares two sets of images."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from lsr.metrics.cards import CARDS
from lsr.metrics.quality import create
from lsr.metrics.weights import provide


class FrechetInceptionDistance:
    """Computes pyiqa's `fid` between two sets of image files.

    A Gaussian is fitted to the Inception v3 features of each set; the value is the Fréchet distance
    of the two Gaussians (Heusel et al., arXiv 1706.08500).

    Args:
        weights: Folder with files of weights, searched before torch's cache.

    Raises:
        MissingWeights: If the weights are not on this machine and cannot be downloaded.
        ValueError: If the weights are damaged.
    """

    def __init__(self, weights: Path | None = None) -> None:
        files = provide(["fid"], weights)
        self.files = [files[file] for file in CARDS["fid"].weights]
        """The files of weights that the metric uses."""
        self._metric = create("fid", files)

    def __call__(self, sr: Sequence[Path], hr: Sequence[Path], device: torch.device) -> float:
        """Return the FID between two sets of image files.

        Args:
            sr: At least two image files.
            hr: At least two image files.
            device: Device on which the features are computed.
        """
        # One image has no covariance, so that no Gaussian can be fitted.
        assert min(len(sr), len(hr)) > 1, "FID needs at least two images in each set"
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            sides = [
                _linked(Path(folder) / side, paths) for side, paths in (("sr", sr), ("hr", hr))
            ]
            metric = self._metric.to(device)
            return float(metric(*map(str, sides), num_workers=0, verbose=False))


def _linked(folder: Path, paths: Sequence[Path]) -> Path:
    """Make a folder with links to the files, because pyiqa reads a set of images from a folder."""
    folder.mkdir()
    for index, path in enumerate(paths):
        (folder / f"{index}{path.suffix}").symlink_to(path.resolve())
    return folder
