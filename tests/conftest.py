"""Shared set-up: no network, one thread, reproducible draws."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from lsr.denoiser import Denoiser, DenoiserConfig

TINY = DenoiserConfig(width=32, depth=2, head_dim=16, cross_heads=2, stem_width=8, context_dim=12)


@pytest.fixture(autouse=True)
def _single_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def denoiser(generator: torch.Generator) -> Denoiser:
    """A small model in which every weight matters: nothing is left at zero or one."""
    model = Denoiser(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def photo() -> np.ndarray:
    """A smooth colour picture with edges, (96, 128, 3) uint8."""
    y, x = np.mgrid[:96, :128]
    planes = [np.sin(x / 9) + np.cos(y / 7), np.sin((x + y) / 11), ((x // 16 + y // 16) % 2) * 2.0 - 1]
    return np.stack([(p - p.min()) / (p.max() - p.min()) * 255 for p in planes], -1).astype(np.uint8)


class SyntheticPairs(torch.utils.data.Dataset):
    """A few small random pairs in the form that LinearSRModule takes."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        hr = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(index)) * 2 - 1
        return {"hr": hr, "lr": hr[:, ::4, ::4].contiguous(), "seed": index}


@pytest.fixture
def loader() -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(SyntheticPairs(), batch_size=2)
