"""A knee as stages 1 and 2 publish it, around a small random model."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from lsr.knee.folder import publish
from lsr.models.checkpoint import model_config, save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture
from support.tiny import TINY

SMALL = replace(TINY, context_dim=0, depth=1)


def random_denoiser(config=SMALL) -> Denoiser:
    """A model in which every weight matters."""
    generator = torch.Generator().manual_seed(5)
    model = Denoiser(config).requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def publish_experts(
    run: Path, boundaries: Sequence[float], depths: Sequence[int] | None = None
) -> ExpertMixture:
    """Publish a knee of stage 2, whose experts all differ, in `run`/knee and return its model."""
    experts = ExpertMixture(SMALL, boundaries, depths).requires_grad_(False)
    generator = torch.Generator().manual_seed(6)
    for parameter in experts.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    weights = run / "weights.safetensors"
    save_denoiser(weights, experts.state_dict(), model_config(experts, 6.0))
    publish(run / "knee", weights, {"step": 9}, lambda path: path.write_bytes(b""))
    return experts


def publish_knee(run: Path, config=SMALL) -> Path:
    """Publish one in `run`/knee and return that folder."""
    model = random_denoiser(config)
    save_denoiser(run / "weights.safetensors", model.state_dict(), asdict(config) | {"shift": 6.0})
    publish(
        run / "knee", run / "weights.safetensors", {"step": 7}, lambda path: path.write_bytes(b"")
    )
    return run / "knee"
