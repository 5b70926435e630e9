"""A knee as stage 1 publishes it, around a small random model."""

from dataclasses import asdict, replace
from pathlib import Path

import torch

from lsr.knee.folder import publish
from lsr.models.checkpoint import save_denoiser
from lsr.models.denoiser import Denoiser
from support.tiny import TINY

SMALL = replace(TINY, context_dim=0, depth=1)


def random_denoiser(config=SMALL) -> Denoiser:
    """A model in which every weight matters."""
    generator = torch.Generator().manual_seed(5)
    model = Denoiser(config).requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def publish_knee(run: Path, config=SMALL) -> Path:
    """Publish one in `run`/knee and return that folder."""
    model = random_denoiser(config)
    save_denoiser(run / "weights.safetensors", model.state_dict(), asdict(config) | {"shift": 6.0})
    publish(
        run / "knee", run / "weights.safetensors", {"step": 7}, lambda path: path.write_bytes(b"")
    )
    return run / "knee"
