"""Fixtures: real photographs, and NIQE fitted to some of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.bundled_photographs import bundled_photographs
from lsr.images import read_rgb8
from lsr.metrics.niqe_fit import fit_niqe


@pytest.fixture(scope="session")
def training_photographs() -> list[np.ndarray]:
    return [read_rgb8(path) for path in bundled_photographs("train")]


@pytest.fixture(scope="session")
def held_out_photographs() -> list[np.ndarray]:
    """Three photographs, (288, 384, 3) uint8."""
    return [read_rgb8(path)[:288, 32:416] for path in bundled_photographs("val")]


@pytest.fixture(scope="session")
def niqe_parameters(training_photographs, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("niqe") / "parameters.mat"
    fit_niqe(training_photographs, path)
    return path


@pytest.fixture(scope="session")
def to_tensor():
    """Turn (H, W, 3) in [0, 255] into (1, 3, H, W) in [-1, 1]."""
    return lambda image: (
        torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    )
