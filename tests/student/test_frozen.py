"""The start of a student, and the frozen models next to it."""

from dataclasses import replace

import pytest
import torch
from support.knee_folder import SMALL, publish_knee, random_denoiser

from lsr.flow.noise import seeded_normal
from lsr.inference.sampling import super_resolve
from lsr.models.checkpoint import load_denoiser, model_config, save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.initialisation import initialise
from lsr.models.mixture import ExpertMixture
from lsr.student.config import LADDConfig, StudentConfig
from lsr.student.frozen import Frozen, read_frozen
from lsr.student.start import start_file
from lsr.student.student_loss import one_step


def mixture_file(folder):
    mixture = ExpertMixture(SMALL, [0.3, 0.8])
    for number, expert in enumerate(mixture.denoisers):
        torch.nn.init.constant_(expert.net.out.bias, number)
    path = folder / "mixture.safetensors"
    save_denoiser(path, mixture.state_dict(), model_config(mixture, 6.0))
    return path, mixture


def test_one_step_is_a_sampler_of_one_step(generator):
    student = random_denoiser()
    lr = torch.rand(2, 3, 4, 6, generator=generator) * 2 - 1

    def noise(shape):
        return seeded_normal([1, 2], shape, 1, torch.device("cpu"))

    wanted = super_resolve(student, lr, noise, 1, shift=6.0)
    condition = student.condition(lr)
    made = one_step(student, noise(tuple(condition.base.shape[1:])), condition)
    torch.testing.assert_close(student.decode(made, condition).clamp(-1, 1), wanted)


def test_a_student_starts_as_the_last_expert_of_a_mixture(tmp_path):
    path, mixture = mixture_file(tmp_path)
    student = Denoiser(SMALL)
    initialise(student, path, last_expert=True)
    for name, weight in mixture.denoisers[-1].state_dict().items():
        assert torch.equal(student.state_dict()[name], weight), name
    with pytest.raises(ValueError, match="holds 3 experts, but a single denoiser is needed"):
        initialise(student, path)


def test_a_new_head_leaves_the_start_as_it_is(tmp_path, generator):
    start = random_denoiser()
    path = tmp_path / "start.safetensors"
    save_denoiser(path, start.state_dict(), model_config(start, 6.0))
    student = Denoiser(replace(SMALL, head_width=4, head_depth=1))
    initialise(student, path)
    condition = start.condition(torch.rand(1, 3, 4, 4, generator=generator) * 2 - 1)
    noise = torch.randn(condition.base.shape, generator=generator)
    wanted, found = (one_step(model, noise, condition) for model in (start, student))
    torch.testing.assert_close(found, wanted)
    save_denoiser(path, student.state_dict(), model_config(student, 6.0))
    with pytest.raises(ValueError, match="head_width is 4 there, but 0 here"):
        initialise(start, path)


def test_a_knee_folder_is_verified(tmp_path):
    knee = publish_knee(tmp_path)
    assert start_file(str(knee)) == knee / "seed.safetensors"
    (knee / "seed.safetensors").chmod(0o644)
    (knee / "seed.safetensors").write_bytes(b"another")
    with pytest.raises(ValueError, match="is not the seed that was published"):
        start_file(str(knee))
    with pytest.raises(ValueError, match="no such knee or model file"):
        start_file(str(tmp_path / "elsewhere" / "knee"))


def test_the_teacher_samples_as_the_mixture_does(tmp_path, generator):
    path, _ = mixture_file(tmp_path)
    student = random_denoiser(replace(SMALL, residual_std=0.5))
    lr = torch.rand(1, 3, 4, 4, generator=generator) * 2 - 1
    condition = student.condition(lr)
    noise = torch.randn(condition.base.shape, generator=generator)
    found = Frozen(path, student).sample(noise, student, condition, 4)
    model, shift = load_denoiser(path)
    wanted = super_resolve(model, lr, lambda shape: noise, 4, shift)
    torch.testing.assert_close(student.decode(found, condition).clamp(-1, 1), wanted)


def test_one_file_of_two_roles_is_read_once_and_a_missing_name_is_told(tmp_path):
    knee = str(publish_knee(tmp_path))
    config = StudentConfig(teacher_l1_weight=1.0, teacher_steps=2, ladd=LADDConfig())
    found = read_frozen(config, knee, Denoiser(SMALL))
    assert found.keys() == {"ladd", "teacher"} and found["ladd"] is found["teacher"]
    with pytest.raises(ValueError, match="ladd needs a trained model: set model.init_from"):
        read_frozen(config, None, Denoiser(SMALL))
    with pytest.raises(ValueError, match="enlarges 4 times, but the student 2 times"):
        Frozen(start_file(knee), Denoiser(replace(SMALL, scale=2)))
    with pytest.raises(ValueError, match="other latents than the student"):
        read_frozen(config, knee, Denoiser(replace(SMALL, patch_size=4)))
