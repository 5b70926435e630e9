"""NIQE's model of good photographs, fitted to photographs of one's own."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lsr.distributed.ranks import on_rank_zero
from lsr.files import atomic_path

log = logging.getLogger(__name__)

_BLOCK = 96
_SHARPNESS = 0.75
_MAX_SIDE = 1024
_FEATURES = 36
_MIN_BLOCKS = 2 * _FEATURES


def fitted_in_run(trainer: Any, stage: str) -> Path:
    """Return `niqe.mat` of a run folder; training fits it to the training photographs where it is not there yet.

    Raises:
        ValueError: If it is missing and the run does not train, or the photographs will not do.
    """
    path = Path(trainer.default_root_dir) / "niqe.mat"
    if not path.is_file():
        if stage != "fit":
            raise ValueError(
                f"{path} is missing: it is made by training, or name another file in model.niqe_parameters"
            )
        on_rank_zero(trainer.strategy, lambda: fit_niqe(trainer.datamodule.photographs(), path))
    return path


def fit_niqe(images: Iterable[np.ndarray], path: Path) -> None:
    """Fit a Gaussian to the features of sharp blocks, and write it as pyiqa's `niqe` reads it.

    The features are pyiqa's own. As in Mittal, Soundararajan and Bovik, "Making a completely blind image quality analyzer"
    (2013), a block of 96 x 96 pixels counts if its mean local deviation exceeds 0.75 of the highest in its photograph.

    Args:
        images: Photographs (H, W, 3) uint8 without visible degradation. Of larger ones the middle 1024 x 1024 pixels are used.
        path: The .mat file to write, with `mu_prisparam` (1, 36) and `cov_prisparam` (36, 36).

    Raises:
        ValueError: If there are too few sharp blocks, or too similar ones.
    """
    import scipy.io

    found = [_sharp_block_features(image) for image in images]
    count, features = len(found), np.concatenate([np.empty((0, _FEATURES)), *found])
    advice = "give more, larger or more varied photographs"
    if len(features) < _MIN_BLOCKS:
        raise ValueError(
            f"NIQE needs {_MIN_BLOCKS} sharp blocks of {_BLOCK} x {_BLOCK} pixels, and {count} photographs have {len(features)}: {advice}"
        )
    covariance = np.cov(features, rowvar=False)
    rank = np.linalg.matrix_rank(covariance)
    if rank < _FEATURES:
        raise ValueError(
            f"the sharp blocks of {count} photographs span {rank} of NIQE's {_FEATURES} features: {advice}"
        )
    with atomic_path(path) as temporary:
        parameters = {"mu_prisparam": features.mean(0, keepdims=True), "cov_prisparam": covariance}
        scipy.io.savemat(temporary, parameters, appendmat=False)
    log.info("fitted NIQE to %d blocks of %d photographs: %s", len(features), count, path)


@torch.no_grad()
def _sharp_block_features(image: np.ndarray) -> np.ndarray:
    """Return the features (K, 36) float64 of the K sharp blocks of a photograph (H, W, 3) uint8."""
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, (
        image.dtype,
        image.shape,
    )
    if min(image.shape[:2]) < _BLOCK:
        return np.empty((0, _FEATURES))
    with torch.random.fork_rng(devices=[]):  # the import draws random numbers
        from pyiqa.archs.niqe_arch import compute_feature, imresize, to_y_channel

    rows, columns = (_middle(side) for side in image.shape[:2])
    rgb = torch.from_numpy(np.ascontiguousarray(image[rows, columns])).permute(2, 0, 1)[None]
    luma = to_y_channel(rgb.double() / 255, 255, "yiq")
    half = imresize(luma / 255, scale=0.5, antialiasing=True) * 255
    normalized, deviation = _normalize(luma)
    sharpness = _blocks(deviation, _BLOCK).mean((1, 2, 3))
    sharp = sharpness > _SHARPNESS * sharpness.max()
    coarse, _ = _normalize(half)
    scales = ((normalized, _BLOCK), (coarse, _BLOCK // 2))
    joined = torch.cat([compute_feature(_blocks(x, size)[sharp]) for x, size in scales], -1).numpy()
    # Graphics have blocks without a distribution to fit, such as stripes.
    return joined[np.isfinite(joined).all(1)]


def _middle(side: int) -> slice:
    kept = min(side, _MAX_SIDE) // _BLOCK * _BLOCK
    return slice((side - kept) // 2, (side - kept) // 2 + kept)


def _normalize(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean-subtracted contrast-normalised luma and the local deviation, all (1, 1, H, W).

    The former is that of pyiqa's `normalize_img_with_gauss`, which keeps the deviation for itself and takes ten times as long.
    """

    def local_mean(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)

    x = luma[0, 0].numpy()
    mean = local_mean(x)
    deviation = np.sqrt(np.abs(local_mean(x**2) - mean**2))
    normalized = (x - mean) / (deviation + 1)
    return torch.from_numpy(normalized)[None, None], torch.from_numpy(deviation)[None, None]


def _blocks(x: Tensor, size: int) -> Tensor:
    """Cut (1, 1, H, W) into its whole blocks (N, 1, size, size), row by row."""
    return x.unfold(2, size, size).unfold(3, size, size).reshape(-1, 1, size, size)
