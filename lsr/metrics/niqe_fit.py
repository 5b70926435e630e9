"""Fit NIQE's statistical model of undistorted photographs to a set of photographs."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lsr.batch import KnowsPhotographs
from lsr.distributed.ranks import on_every_machine
from lsr.files import atomic_path

log = logging.getLogger(__name__)

_BLOCK = 96
"""Side of a block in pixels, as in pyiqa's `niqe`."""

_SHARPNESS = 0.75
"""A block is sharp if its sharpness exceeds this share of the sharpest block's."""

_MAX_SIDE = 1024
"""Largest side in pixels of the part of a photograph that is used."""

_FEATURES = 36
"""Number of NIQE's features: 18 at each of two scales."""

_MIN_BLOCKS = 2 * _FEATURES
"""Fewest blocks that a fit accepts: a covariance of 36 features needs more than 36 samples."""


def fitted_in_run(trainer: Any, stage: str) -> Path:
    """Return the path of `niqe.mat` in the run folder, and fit it first if training starts.

    Args:
        trainer: Lightning's trainer. Its data module provides the training photographs.
        stage: Lightning's stage. Only "fit" creates a missing file.

    Raises:
        ValueError: If the file is missing and the stage is not "fit", or if the photographs are
            too few or too similar.
    """
    path = Path(trainer.default_root_dir) / "niqe.mat"
    if stage == "fit":
        # Whether the file is there is asked inside: a rank that comes late would find it, and the
        # others would wait for that rank for ever.
        on_every_machine(trainer.strategy, lambda: _fit_unless_there(trainer.datamodule, path))
    elif not path.is_file():
        raise ValueError(
            f"{path} is missing: lsr fit makes this file; copy it from the run, "
            "or name another .mat file in model.niqe_parameters"
        )
    return path


def _fit_unless_there(data: object, path: Path) -> None:
    if path.is_file():
        return
    if not isinstance(data, KnowsPhotographs):
        raise ValueError(
            "model.niqe_parameters cannot be 'fit', because the DataModule "
            f"{type(data).__name__} has no method photographs(): name a .mat file instead"
        )
    fit_niqe(data.photographs(), path)


def fit_niqe(images: Iterable[np.ndarray], path: Path) -> None:
    """Fit a Gaussian to the features of sharp blocks, and write it in the format of pyiqa's `niqe`.

    The features are computed by pyiqa. The selection of blocks is that of Mittal, Soundararajan and
    Bovik, "Making a completely blind image quality analyzer" (2013): a block of 96 x 96 pixels is
    used if its mean local deviation exceeds 0.75 of the highest in its photograph.

    Args:
        images: Photographs (H, W, 3) uint8 without visible degradation. Of larger photographs only
            the middle 960 x 960 pixels are used.
        path: The .mat file to write, with `mu_prisparam` (1, 36) and `cov_prisparam` (36, 36).

    Raises:
        ValueError: If there are too few sharp blocks, or if the blocks are too similar.
    """
    import scipy.io

    found = [_sharp_block_features(image) for image in images]
    count = len(found)
    features = np.concatenate([np.empty((0, _FEATURES)), *found])
    advice = (
        "give more, larger or more varied photographs, or name a .mat file in model.niqe_parameters"
    )
    if len(features) < _MIN_BLOCKS:
        raise ValueError(
            f"NIQE needs {_MIN_BLOCKS} sharp blocks of {_BLOCK} x {_BLOCK} pixels, "
            f"and {count} photographs have {len(features)}: {advice}"
        )
    covariance = np.cov(features, rowvar=False)
    rank = np.linalg.matrix_rank(covariance)
    # NIQE inverts the covariance, which therefore must have full rank.
    if rank < _FEATURES:
        raise ValueError(
            f"the sharp blocks of {count} photographs are too similar to fit NIQE "
            f"(rank {rank} of {_FEATURES}): {advice}"
        )
    with atomic_path(path) as temporary:
        parameters = {"mu_prisparam": features.mean(0, keepdims=True), "cov_prisparam": covariance}
        scipy.io.savemat(temporary, parameters, appendmat=False)
    log.info("fitted NIQE to %d blocks of %d photographs: %s", len(features), count, path)


@torch.no_grad()
def _sharp_block_features(image: np.ndarray) -> np.ndarray:
    """Return the features of the sharp blocks of a photograph.

    Args:
        image: Photograph (H, W, 3) uint8.

    Returns:
        Array (K, 36) float64 for K sharp blocks; K is 0 if the photograph is smaller than a block.
    """
    is_rgb8 = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert is_rgb8, (image.dtype, image.shape)
    if min(image.shape[:2]) < _BLOCK:
        return np.empty((0, _FEATURES))
    with torch.random.fork_rng(devices=[]):  # importing pyiqa draws random numbers
        from pyiqa.archs.niqe_arch import compute_feature, imresize, to_y_channel

    rows, columns = (_middle(side) for side in image.shape[:2])
    rgb = torch.from_numpy(np.ascontiguousarray(image[rows, columns])).permute(2, 0, 1)[None]
    luma = to_y_channel(rgb.double() / 255, 255, "yiq")
    half = imresize(luma / 255, scale=0.5, antialiasing=True) * 255
    normalized, deviation = _normalize(luma)
    sharpness = _blocks(deviation, _BLOCK).mean((1, 2, 3))
    sharp = sharpness > _SHARPNESS * sharpness.max()
    # A block has 18 features at full size and 18 at half size.
    coarse, _ = _normalize(half)
    scales = ((normalized, _BLOCK), (coarse, _BLOCK // 2))
    joined = torch.cat([compute_feature(_blocks(x, size)[sharp]) for x, size in scales], -1).numpy()
    # pyiqa fits a distribution to each block. The fit fails for some graphics, such as stripes, and
    # gives features that are not finite.
    return joined[np.isfinite(joined).all(1)]


def _middle(side: int) -> slice:
    """Return the middle whole blocks of a side that fit into 1024 pixels: at most 960 pixels."""
    kept = min(side, _MAX_SIDE) // _BLOCK * _BLOCK
    start = (side - kept) // 2
    return slice(start, start + kept)


def _normalize(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the normalised luma (I - mean) / (deviation + 1) and the local deviation.

    Mean and deviation are weighted by a Gaussian window of 7 x 7 pixels (equation 1 of the NIQE
    paper, see `fit_niqe`). The normalised luma equals pyiqa's `normalize_img_with_gauss`, which
    takes ten times as long and does not return the deviation.

    Args:
        luma: Luma (1, 1, H, W) in [0, 255], float64.

    Returns:
        Normalised luma and local deviation, both (1, 1, H, W).
    """

    def local_mean(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)

    x = luma[0, 0].numpy()
    mean = local_mean(x)
    # The absolute value, because rounding can make the variance E[x^2] - E[x]^2 slightly negative.
    deviation = np.sqrt(np.abs(local_mean(x**2) - mean**2))
    normalized = (x - mean) / (deviation + 1)
    return torch.from_numpy(normalized)[None, None], torch.from_numpy(deviation)[None, None]


def _blocks(x: Tensor, size: int) -> Tensor:
    """Cut an image (1, 1, H, W) into its N whole blocks (N, 1, size, size), row by row."""
    return x.unfold(2, size, size).unfold(3, size, size).reshape(-1, 1, size, size)
