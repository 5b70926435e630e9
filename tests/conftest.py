"""Shared set-up: no network, one thread, reproducible draws, and nothing of an earlier test."""

import os
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from support.tiny import TINY, SyntheticPairs

from lsr.models.checkpoint import save_denoiser
from lsr.models.denoiser import Denoiser

# The same examples in every run, and no limits of time: a change is not judged by chance.
settings.register_profile(
    "reproducible",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("reproducible")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Begin every test alike, whatever the same process has run before.

    With pytest-xdist the tests before it are others in every run. New layers draw from the global
    generators; runs of Lightning leave environment variables and a process group.
    """
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    environment = dict(os.environ)
    result = yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(environment)
    return result


@pytest.fixture(autouse=True)
def _single_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


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
def model(denoiser: Denoiser, tmp_path: Path) -> Path:
    """The small model as a file."""
    path = tmp_path / "model.safetensors"
    save_denoiser(path, denoiser.state_dict(), asdict(denoiser.config) | {"shift": 3.0})
    return path


@pytest.fixture
def photo() -> np.ndarray:
    """A smooth colour picture with edges, (96, 128, 3) uint8."""
    y, x = np.mgrid[:96, :128]
    planes = [
        np.sin(x / 9) + np.cos(y / 7),
        np.sin((x + y) / 11),
        ((x // 16 + y // 16) % 2) * 2.0 - 1,
    ]
    return np.stack([(p - p.min()) / (p.max() - p.min()) * 255 for p in planes], -1).astype(
        np.uint8
    )


@pytest.fixture
def loader() -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(SyntheticPairs(), batch_size=2)
