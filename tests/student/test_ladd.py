"""LADD: what the heads see of an image, and how its judgement reaches the student."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.knee_folder import SMALL, publish_knee, random_denoiser

from lsr.flow.noise import seeded_normal
from lsr.models.checkpoint import model_config, save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture
from lsr.student.adversarial import generator_loss
from lsr.student.config import LADDConfig
from lsr.student.frozen import Frozen
from lsr.student.ladd import LADD

SEEDS = [3, 8]


@pytest.fixture
def knee(tmp_path):
    return publish_knee(tmp_path, replace(SMALL, depth=2)) / "seed.safetensors"


@pytest.fixture
def student():
    return random_denoiser(replace(SMALL, depth=2))


def images(student, generator):
    lr = torch.rand(2, 3, 6, 4, generator=generator) * 2 - 1
    condition = student.condition(lr)
    x_0 = torch.randn(condition.base.shape, generator=generator)
    return condition, x_0.requires_grad_()


def test_the_gradient_is_that_of_the_features_computed_by_hand(knee, student, generator):
    ladd = LADD(Frozen(knee, student), LADDConfig(blocks=(1,), channels=5))
    condition, x_0 = images(student, generator)
    scene = ladd.scene(student, condition, SEEDS)
    (logits,) = ladd(ladd.features(x_0, scene))
    (found,) = torch.autograd.grad(generator_loss(logits), x_0)

    frozen = ladd.frozen.model
    t = ladd.times.draw(*seeded_normal(SEEDS, (2,), 0, torch.device("cpu")).unbind(1))
    noise = seeded_normal(SEEDS, tuple(x_0.shape[1:]), 2, torch.device("cpu"))
    time = t[:, None, None, None]
    x_t = (1 - time) * x_0 + time * noise
    s = ((1 - time) ** 2 + time**2).sqrt()
    net = frozen.net
    tokens = net.tokens(torch.cat([x_t / s, frozen.stem(condition.lr)], 1))
    for block in net.blocks:
        tokens = block(tokens, (3, 2), net.modulation(t)[1], None, None)
    tokens = F.layer_norm(tokens, tokens.shape[-1:])
    maps = tokens.transpose(1, 2).reshape(2, -1, 3, 2)
    (wanted,) = torch.autograd.grad(-ladd.heads[0](maps).mean(), x_0)
    torch.testing.assert_close(found, wanted)
    assert (found != 0).all()


def test_the_frozen_denoiser_belongs_to_no_module_and_gets_no_gradients(knee, student, generator):
    ladd = LADD(Frozen(knee, student), LADDConfig(channels=5))
    condition, x_0 = images(student, generator)
    features = ladd.features(x_0, ladd.scene(student, condition, SEEDS))
    torch.stack([generator_loss(each) for each in ladd(features)]).sum().backward()
    assert all(p.grad is None for p in ladd.frozen.model.parameters())
    assert all(p.grad is not None for p in ladd.heads.parameters())
    assert all(name.startswith("heads.") for name in ladd.state_dict())


def test_images_are_renoised_by_their_seeds_alone(knee, student, generator):
    ladd = LADD(Frozen(knee, student), LADDConfig())
    condition, _ = images(student, generator)
    both = ladd.scene(student, condition, SEEDS)
    other = ladd.scene(student, condition, [8, 3])
    assert torch.equal(both.t, other.t.flip(0)) and torch.equal(both.noise, other.noise.flip(0))
    assert both.t[0] != both.t[1]


def test_a_student_of_other_patches_is_seen_by_its_image(knee, generator):
    student = random_denoiser(replace(SMALL, patch_size=4, residual_std=0.5))
    frozen = Frozen(knee, student)
    lr = torch.rand(1, 3, 4, 4, generator=generator) * 2 - 1
    hr = torch.rand(1, 3, 16, 16, generator=generator) * 2 - 1
    of, own = student.condition(lr), frozen.model.condition(lr)
    found = frozen.data(student.encode(hr, of), student, of, own)
    torch.testing.assert_close(found, frozen.model.encode(hr, own))


def test_a_mixture_and_blocks_that_it_lacks_are_refused(knee, student, tmp_path):
    with pytest.raises(ValueError, match="blocks must be numbers from 0 to 1"):
        LADD(Frozen(knee, student), LADDConfig(blocks=(0, 2)))
    mixture = ExpertMixture(SMALL, [0.5])
    path = tmp_path / "mixture.safetensors"
    save_denoiser(path, mixture.state_dict(), model_config(mixture, 3.0))
    with pytest.raises(ValueError, match="holds experts, but the features of a single denoiser"):
        LADD(Frozen(path, Denoiser(SMALL)), LADDConfig())
