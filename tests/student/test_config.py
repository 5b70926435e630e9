"""Settings of stage 3 that are refused, and weights of LPIPS that are missing."""

import pytest
import torch
from torch import nn

from lsr.student import perceptual
from lsr.student.config import LADDConfig, StudentConfig, UNetConfig
from lsr.student.perceptual import Perceptual


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"l1_weight": -1.0}, "student.l1_weight must be at least 0, not -1"),
        ({"gan_start": -1}, "student.gan_start must be at least 0"),
        ({"l1_weight": 0.0, "unet": UNetConfig()}, "the student has no target"),
    ],
)
def test_numbers_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        StudentConfig(**settings)


def test_a_negative_weight_of_features_is_named():
    with pytest.raises(ValueError, match="student.unet.feature_weight must be at least 0, not -1"):
        UNetConfig(feature_weight=-1.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"teacher_l1_weight": 1.0},
        {"gradient_l1_weight": 1.0},
        {"unet": UNetConfig(feature_weight=1.0)},
        {"unet": UNetConfig(), "real": "both"},
    ],
)
def test_each_of_these_terms_needs_a_teacher(settings):
    assert StudentConfig(**settings).needs_teacher
    assert not StudentConfig(unet=UNetConfig(), low_pass_l1_weight=1.0).needs_teacher


@pytest.mark.parametrize("kind", [LADDConfig, UNetConfig])
def test_a_discriminator_without_weight_is_left_out_by_null(kind):
    with pytest.raises(ValueError, match="null leaves this discriminator out"):
        kind(weight=0.0)


def test_lpips_is_named_once_and_left_out_if_nobody_asked_for_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert Perceptual(StudentConfig()).weights == {}
    (line,) = caplog.messages
    assert "trained without LPIPS" in line and "LPIPS_v0.1_alex" in line


@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_what_was_asked_for_and_is_missing_is_an_error(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=f"student.{name}_weight is 0.5, but weights of {name}"):
        Perceptual(StudentConfig(**{f"{name}_weight": 0.5}))


class Difference(nn.Module):
    """A distance in the place of a network whose weights are not here."""

    def forward(self, sr, hr):
        assert sr.min() >= 0 and sr.max() <= 1
        return (sr - hr).square().mean()


def test_gradients_flow_from_the_distance_to_the_image(monkeypatch, generator):
    monkeypatch.setattr(perceptual, "provide", lambda names, folder: {})
    monkeypatch.setattr(perceptual, "create", lambda name, files, as_loss: Difference())
    terms = Perceptual(StudentConfig(dists_weight=0.25))
    assert terms.weights == {"lpips": 1.0, "dists": 0.25}
    sr = (torch.rand(2, 3, 8, 8, generator=generator) * 2 - 1).requires_grad_()
    hr = torch.rand(2, 3, 8, 8, generator=generator) * 2 - 1
    found = terms(sr, hr)
    found["lpips"].backward()
    torch.testing.assert_close(found["dists"], (sr - hr).square().mean() / 4)
    assert sr.grad is not None and (sr.grad != 0).all()
