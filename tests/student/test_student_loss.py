"""Terms that compare images, against values worked out by hand, and a student without noise."""

import pytest
import torch
from support.knee_folder import random_denoiser

from lsr.student.pictures import Pictures, real_pictures
from lsr.student.student_loss import gradient_l1, ignore_noise, low_pass_l1, one_step


def test_the_gradient_error_is_that_of_both_directions_and_ignores_a_constant():
    target = torch.zeros(1, 1, 2, 3)
    image = torch.tensor([[0.0, 1.0, 1.0], [4.0, 1.0, 1.0]])[None, None] + 7
    # Vertical differences 4, 0, 0; horizontal 1, 0, -3, 0.
    assert gradient_l1(image, target).item() == pytest.approx(4 / 3 + 4 / 4)


def test_the_low_pass_error_ignores_texture_around_a_mean():
    target = torch.zeros(1, 1, 4, 4)
    texture = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).tile(2, 2)[None, None]
    assert low_pass_l1(texture, target, 2).item() == 0
    texture[..., :2, :2] += 3  # a quarter of the picture is brighter
    assert low_pass_l1(texture, target, 2).item() == pytest.approx(0.75)


@pytest.mark.parametrize(("kind", "wanted"), [("hr", [0, 0, 0]), ("teacher", [1, 1, 1])])
def test_one_kind_of_real_pictures(kind, wanted):
    hr, teacher = (Pictures(torch.full((3, 1), n), torch.full((3, 2), n)) for n in (0, 1))
    assert real_pictures(kind, hr, teacher).x_0.flatten().tolist() == wanted


@pytest.mark.parametrize(("size", "wanted"), [(1, [0]), (2, [0, 1]), (5, [0, 0, 0, 1, 1])])
def test_both_kinds_of_real_pictures_share_a_batch(size, wanted):
    hr, teacher = (Pictures(torch.full((size, 1), n), torch.full((size, 2), n)) for n in (0, 1))
    found = real_pictures("both", hr, teacher)
    assert found.x_0[:, 0].tolist() == found.image[:, 0].tolist() == wanted


def test_without_noise_only_the_photograph_counts(generator):
    student = random_denoiser()
    condition = student.condition(torch.rand(1, 3, 4, 4, generator=generator))
    noises = [torch.randn(condition.base.shape, generator=generator) for _ in range(2)]
    one, other = (one_step(student, noise, condition) for noise in noises)
    assert (one - other).abs().max() > 1e-3
    ignore_noise(student)
    one, other = (one_step(student, noise, condition) for noise in noises)
    torch.testing.assert_close(one, other)
