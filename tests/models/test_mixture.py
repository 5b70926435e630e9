"""Routing: exactly one expert is evaluated, the one whose interval contains the time."""

from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from support.tiny import TINY

from lsr.cli import main
from lsr.experts.config import ExpertsConfig
from lsr.flow.samplers import SAMPLERS
from lsr.flow.snr import PUBLISHED
from lsr.flow.timesteps import timestep_grid
from lsr.inference.sampling import super_resolve, super_resolve_together
from lsr.models.checkpoint import MODEL_CONFIG, load_denoiser, read_denoiser, save_denoiser
from lsr.models.mixture import ExpertMixture

SMALL = replace(TINY, context_dim=0, depth=1)


@pytest.fixture
def mixture(generator):
    """Return four experts that differ in every weight."""
    model = ExpertMixture(SMALL, PUBLISHED).requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def calls(mixture):
    """Return the experts that were called and their times, in the order of the calls."""
    seen = []
    for i in range(4):
        mixture.expert(i).register_forward_pre_hook(
            lambda _, inputs, i=i: seen.append((i, inputs[1].tolist()))
        )
    return seen


def lr(generator, n=1):
    return torch.rand(n, 3, 4, 4, generator=generator) * 2 - 1


def holder(t):
    return sum(t >= torch.tensor(boundary).item() for boundary in PUBLISHED)


def test_every_time_goes_to_the_expert_whose_share_holds_it(mixture, calls, generator):
    times = torch.rand(10_000, generator=generator)
    edges = torch.tensor(PUBLISHED)
    below = torch.nextafter(edges, torch.tensor(0.0))
    times = torch.cat([times, torch.tensor([0.0, 1.0]), edges, below])
    routed = mixture.route(times)
    assert routed.tolist() == [holder(t) for t in times.tolist()]
    assert routed[-8:].tolist() == [0, 3, 1, 2, 3, 0, 1, 2]
    condition = mixture.condition(lr(generator))
    x = torch.randn(condition.base.shape, generator=generator)
    for t in times[-200:]:
        mixture(x, t[None], condition)
    assert calls == [(holder(t), [t]) for t in times[-200:].tolist()]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_step_of_a_sampler_is_one_experts(mixture, calls, generator, sampler):
    seen = []
    mixture.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].tolist()))
    super_resolve(
        mixture,
        lr(generator),
        lambda shape: torch.randn(1, *shape, generator=generator),
        40,
        6.0,
        sampler=sampler,
    )
    assert calls == [(holder(t[0]), t) for t in seen] and {i for i, _ in calls} == {0, 1, 2, 3}
    assert {t for (t,) in seen} == set(timestep_grid(40, 6.0)[:-1].float().tolist())


def test_times_of_two_experts_in_one_evaluation_are_refused(mixture, generator):
    condition = mixture.condition(lr(generator, 2))
    x = torch.zeros(condition.base.shape)
    with pytest.raises(AssertionError, match=r"\[0, 3\]"):
        mixture(x, torch.tensor([0.1, 0.95]), condition)


def test_an_expert_looks_at_the_image_once_and_only_if_it_is_called(mixture, generator):
    looks = []
    for i in range(4):
        mixture.expert(i).stem.register_forward_hook(lambda *_, i=i: looks.append(i))
    condition = mixture.condition(lr(generator))
    x = torch.zeros(condition.base.shape)
    assert looks == []
    for t in (0.1, 0.95, 0.2, 1.0):
        mixture(x, torch.tensor([t]), condition)
    assert looks == [0, 3]
    mixture(x, torch.tensor([0.1]), mixture.condition(lr(generator)))
    assert looks == [0, 3, 0], "another image is looked at again"


def test_an_experts_loss_and_velocity_are_its_own(mixture, generator):
    condition = mixture.condition(lr(generator, 2))
    x, noise = (torch.randn(condition.base.shape, generator=generator) for _ in range(2))
    for i, t in enumerate((0.1, 0.5, 0.9, 1.0)):
        time, expert = torch.full((2,), t), mixture.expert(i)
        assert torch.equal(
            mixture(x, time, condition), expert(x, time, expert.condition(condition.lr))
        )
        assert torch.equal(
            mixture.loss(x, noise, time, condition), expert.loss(x, noise, time, condition)
        )


def described(mixture):
    return asdict(mixture.config) | {"shift": 6.0, "boundaries": list(mixture.boundaries)}


def test_a_model_file_of_a_mixture_makes_the_same_mixture(mixture, generator, tmp_path):
    path = tmp_path / "model.safetensors"
    save_denoiser(path, mixture.state_dict(), described(mixture))
    loaded, shift = load_denoiser(path)
    assert (
        isinstance(loaded, ExpertMixture)
        and loaded.boundaries == PUBLISHED
        and shift == 6
        and not loaded.training
    )
    image, noise = lr(generator), torch.randn(1, 192, 2, 2, generator=generator)
    one, other = (
        super_resolve(model, image, lambda shape: noise, 40, 6.0) for model in (mixture, loaded)
    )
    assert torch.equal(one, other)
    with pytest.raises(ValueError, match="4 experts, but a single denoiser is needed"):
        read_denoiser(path)


def test_photographs_are_upscaled_by_a_mixture(mixture, photo, tmp_path):
    Image.fromarray(photo[:12, :16]).save(tmp_path / "photo.png")
    pictures = {}
    state = {f"denoiser.{name}": weight for name, weight in mixture.state_dict().items()}
    torch.save({"state_dict": state, MODEL_CONFIG: described(mixture)}, tmp_path / "last.ckpt")
    save_denoiser(tmp_path / "model.safetensors", mixture.state_dict(), described(mixture))
    for model in ("last.ckpt", "model.safetensors"):
        out = tmp_path / model.replace(".", "-")
        assert (
            main(
                [
                    "upscale",
                    str(tmp_path / "photo.png"),
                    "--model",
                    str(tmp_path / model),
                    "--out",
                    str(out),
                    "--steps",
                    "4",
                ]
            )
            == 0
        )
        pictures[model] = Image.open(out / "photo.png")
    assert (
        pictures["last.ckpt"].size == (64, 48)
        and pictures["last.ckpt"].tobytes() == pictures["model.safetensors"].tobytes()
    )


def test_experts_can_differ_in_depth(generator, tmp_path):
    model = (
        ExpertMixture(replace(SMALL, depth=2), PUBLISHED, depths=[2, 2, 1, 1])
        .requires_grad_(False)
        .eval()
    )
    assert [len(model.expert(i).net.blocks) for i in range(4)] == [2, 2, 1, 1]
    for parameter in model.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    save_denoiser(
        tmp_path / "model.safetensors",
        model.state_dict(),
        described(model) | {"depths": [2, 2, 1, 1]},
    )
    loaded, _ = load_denoiser(tmp_path / "model.safetensors")
    assert loaded.depths == (2, 2, 1, 1)
    image, noise = lr(generator), torch.randn(1, 192, 2, 2, generator=generator)
    one, other = (
        super_resolve(each, image, lambda shape: noise, 40, 6.0) for each in (model, loaded)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("depths", [[2, 2, 1], [2, 2, 3, 1], [2, 0, 1, 1]])
def test_depths_that_no_knee_of_two_blocks_has_are_refused(depths):
    with pytest.raises(ValueError, match="depths must be 4 numbers from 1 to 2"):
        ExpertsConfig("knee", depths=depths).build(replace(SMALL, depth=2))


def test_an_expert_that_is_not_there_cannot_be_trained_alone():
    with pytest.raises(ValueError, match="from 0 to 3, not 4"):
        ExpertsConfig("knee", expert=4).build(SMALL)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_aligned_steps_are_taken_by_the_expert_that_holds_all_of_them(
    mixture, calls, generator, sampler
):
    super_resolve(
        mixture,
        lr(generator),
        lambda shape: torch.randn(1, *shape, generator=generator),
        4,
        6.0,
        sampler=sampler,
        align_steps=True,
    )
    first = [3, 2, 1, 0] if sampler == "euler" else [3, 2, 2, 1, 1, 0, 0]
    assert [i for i, _ in calls] == first


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_batches_sampled_together_are_those_sampled_alone(mixture, calls, generator, sampler):
    images = [
        torch.rand(n, 3, height, 6, generator=generator) * 2 - 1
        for n, height in ((1, 4), (2, 7), (1, 3))
    ]

    def job(image):
        drawing = torch.Generator().manual_seed(len(image) + image.shape[2])
        return image, lambda shape: torch.randn(len(image), *shape, generator=drawing)

    jobs = [job(image) for image in images]
    together = super_resolve_together(mixture, jobs, 12, 6.0, sampler=sampler)
    order = [i for i, _ in calls]
    assert order == sorted(order, reverse=True), (
        "an expert is asked for every image before the next expert"
    )
    alone = [super_resolve(mixture, *job(image), 12, 6.0, sampler=sampler) for image in images]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


def test_the_bisected_range_can_be_chosen():
    assert ExpertsConfig("knee", "bisected", t_range=(0.001, 0.999)).times() == pytest.approx(
        (0.077, 0.875, 0.988), abs=1e-3
    )


def test_boundaries_have_names_and_can_be_listed():
    assert ExpertsConfig("knee").times() == PUBLISHED
    assert ExpertsConfig("knee", "uniform").times() == (0.25, 0.5, 0.75)
    assert ExpertsConfig("knee", "uniform", n=3).times() == pytest.approx((1 / 3, 2 / 3))
    assert ExpertsConfig("knee", "bisected").times() == pytest.approx(PUBLISHED, abs=6e-4)
    assert ExpertsConfig("knee", "bisected", n=2).times() == (0.875,)
    assert ExpertsConfig("knee", [0.3, 0.6]).times() == (0.3, 0.6)


@pytest.mark.parametrize(
    "boundaries, n, message",
    [
        ([0.6, 0.3], None, "boundaries"),
        ([0.3, 0.3], None, "boundaries"),
        ([0.0, 0.5], None, "boundaries"),
        ([0.3], 4, "boundaries"),
        ("published", 2, "boundaries"),
        ("uniform", 0, "n must be at least 1, not 0"),
    ],
)
def test_invalid_boundaries_are_refused(boundaries, n, message):
    with pytest.raises(ValueError, match=message):
        ExpertsConfig("knee", boundaries, n).times()
