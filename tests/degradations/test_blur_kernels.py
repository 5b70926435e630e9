"""Blur kernels against a plain transcription of their formulas."""

import math

import numpy as np
import pytest
import scipy.special

from lsr.degradations import DegradationConfig, draw
from lsr.degradations.kernels import make_kernels
from lsr.degradations.parameters import Kernel


def transcription(kernel):
    half = kernel.size // 2
    out = np.zeros((21, 21))
    cosine, sine = math.cos(kernel.theta), math.sin(kernel.theta)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    inverse = np.linalg.inv(rotation @ np.diag([kernel.sigma_x**2, kernel.sigma_y**2]) @ rotation.T)
    for y in range(-half, half + 1):
        for x in range(-half, half + 1):
            if kernel.family == "sinc":
                r = math.hypot(x, y)
                w = kernel.cutoff
                centre = w * w / (4 * math.pi)
                value = w * scipy.special.j1(w * r) / (2 * math.pi * r) if r else centre
            else:
                power = (np.array([x, y]) @ inverse @ np.array([x, y])) ** kernel.beta
                plateau = kernel.family.startswith("plateau")
                value = 1 / (power + 1) if plateau else math.exp(-0.5 * power)
            out[y + 10, x + 10] = value
    return out / out.sum()


@pytest.fixture(scope="module")
def kernels():
    drawn = [draw(DegradationConfig(), 0, 0, i) for i in range(100)]
    every = [k for p in drawn for k in (p.first.kernel, p.second.kernel, p.final_sinc)]
    return [kernel for kernel in every if kernel]


def test_every_family_follows_its_formula(kernels):
    assert len({kernel.family for kernel in kernels}) == 7
    made = make_kernels(kernels).numpy()
    for kernel, values in zip(kernels, made, strict=True):
        assert np.abs(values - transcription(kernel)).max() <= 1e-6, kernel


def test_kernels_are_centred_and_keep_the_mean(kernels):
    made = make_kernels(kernels).double().numpy()
    axis = np.arange(-10, 11)
    assert np.abs(made.sum((1, 2)) - 1).max() < 1e-6
    assert np.abs((made * axis).sum((1, 2))).max() < 1e-5
    assert np.abs((made * axis[:, None]).sum((1, 2))).max() < 1e-5
    for kernel, values in zip(kernels, made, strict=True):
        assert not values[np.maximum(abs(axis)[:, None], abs(axis)) > kernel.size // 2].any()


def test_no_kernel_is_the_pulse():
    pulse, gaussian = make_kernels([None, Kernel("iso", 7)])
    assert pulse[10, 10] == 1 and pulse.sum() == 1 and gaussian[10, 10] < 0.5


def test_a_kernel_does_not_depend_on_its_neighbours(kernels):
    together = make_kernels(kernels[:40])
    for kernel, made in zip(kernels[:40], together, strict=True):
        assert (make_kernels([kernel])[0] == made).all()
