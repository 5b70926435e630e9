"""Experts in host memory: one on the device at a time, few copies, the same images."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from support.tiny import TINY

from lsr.experts.offload import ExpertOffload, load_offloaded
from lsr.flow.snr import PUBLISHED
from lsr.inference.sampling import super_resolve, super_resolve_together
from lsr.models.checkpoint import load_denoiser, save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture

SMALL = replace(TINY, context_dim=0, depth=1)
CPU = torch.device("cpu")


@pytest.fixture
def mixture(generator):
    model = ExpertMixture(SMALL, PUBLISHED).requires_grad_(False).eval()
    for parameter in model.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def jobs(n):
    images = torch.rand(n, 1, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return [
        (
            image,
            lambda shape, i=i: torch.randn(1, *shape, generator=torch.Generator().manual_seed(i)),
        )
        for i, image in enumerate(images)
    ]


def test_one_expert_is_on_the_device_at_a_time(mixture):
    host = [[p.data_ptr() for p in expert.parameters()] for expert in mixture.experts]
    offload, away = ExpertOffload(mixture, CPU), []

    def look(*_):
        away.append(
            [
                [p.data_ptr() for p in expert.parameters()] != home
                for expert, home in zip(mixture.experts, host, strict=True)
            ]
        )

    for expert in mixture.experts:
        expert.net.register_forward_pre_hook(look)
    super_resolve(mixture, *jobs(1)[0], 24, 6.0)
    assert [states.index(True) for states in away] == sorted(
        (states.index(True) for states in away), reverse=True
    )
    assert all(sum(states) == 1 for states in away) and len(away) == 24
    offload.release()
    assert [[p.data_ptr() for p in expert.parameters()] for expert in mixture.experts] == host


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_experts_arrive_once_for_an_image_and_once_for_images_together(mixture, sampler):
    expected = [super_resolve(mixture, *job, 24, 6.0, sampler=sampler) for job in jobs(3)]
    offload = ExpertOffload(mixture, CPU)
    one_by_one = [super_resolve(mixture, *job, 24, 6.0, sampler=sampler) for job in jobs(3)]
    assert offload.arrivals == 3 * 4
    offload.release()
    offload = ExpertOffload(mixture, CPU)
    together = super_resolve_together(mixture, jobs(3), 24, 6.0, sampler=sampler)
    assert offload.arrivals == 4, "the first expert comes, and three times another takes the place"
    for found in (one_by_one, together):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_released_experts_move_no_more(mixture):
    offload = ExpertOffload(mixture, CPU)
    offload.release()
    super_resolve(mixture, *jobs(1)[0], 24, 6.0)
    assert offload.arrivals == 0


def test_a_file_is_mapped_not_copied(mixture, tmp_path):
    path = tmp_path / "model.safetensors"
    save_denoiser(
        path, mixture.state_dict(), asdict(SMALL) | {"shift": 6.0, "boundaries": list(PUBLISHED)}
    )
    loaded, shift, offload = load_offloaded(path, CPU)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    starts = {
        p.data_ptr() - header[name]["data_offsets"][0] for name, p in loaded.named_parameters()
    }
    assert shift == 6 and len(starts) == 1, "in memory the weights lie as in the file"
    job = jobs(1)[0]
    assert (
        torch.equal(super_resolve(loaded, *job, 24, 6.0), super_resolve(mixture, *job, 24, 6.0))
        and offload.arrivals == 4
    )


def test_experts_exported_in_half_precision_compute_as_when_loaded_together(mixture, tmp_path):
    path = tmp_path / "model.safetensors"
    half = {name: weight.bfloat16() for name, weight in mixture.state_dict().items()}
    save_denoiser(path, half, asdict(SMALL) | {"shift": 6.0, "boundaries": list(PUBLISHED)})
    waiting, together, job = load_offloaded(path, CPU)[0], load_denoiser(path)[0], jobs(1)[0]
    assert torch.equal(
        super_resolve(waiting, *job, 24, 6.0), super_resolve(together, *job, 24, 6.0)
    )


def test_a_single_denoiser_has_no_experts_to_wait(tmp_path):
    path = tmp_path / "model.safetensors"
    save_denoiser(path, Denoiser(SMALL).state_dict(), asdict(SMALL) | {"shift": 6.0})
    with pytest.raises(ValueError, match="holds a single denoiser"):
        load_offloaded(path, CPU)
