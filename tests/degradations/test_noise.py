"""Gaussian and Poisson noise: distributions, ranges, and independence of the samples."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator

from lsr.degradations.noise import add_gaussian, add_noise_ragged, add_poisson, alias_table
from lsr.degradations.parameters import Stage


def seeded(seed):
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("exponent", [0, 3, 8])
def test_the_alias_tables_hold_the_poisson_law(exponent):
    table = alias_table(exponent, torch.device("cpu")).numpy().reshape(256, 512)
    accept, alias = (table >> 9) / 2**22, table & 511
    for level in (0, 1, 2, 17, 128, 255):
        mass = accept[level].copy()
        np.add.at(mass, alias[level], 1 - accept[level])
        wanted = stats.poisson.pmf(np.arange(512), 2**exponent * level / 255)
        assert np.abs(mass / 512 - wanted).max() < 1e-6


@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise_has_the_drawn_deviation(grey):
    x = torch.full((3, 400, 400), 0.5)
    noise = add_gaussian(x, 10 / 255, grey, seeded(1)) - x
    assert abs(noise.std().item() * 255 / 10 - 1) < 0.02 and abs(noise.mean().item()) < 2e-4
    correlation = torch.corrcoef(noise.flatten(1))[0, 1].item()
    assert correlation > 0.999 if grey else abs(correlation) < 0.02


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("levels", "strength"), [(200, 256), (100, 128), (1, 2)])
def test_poisson_noise_has_variance_level_over_strength(levels, strength, grey):
    """All pixels are mid grey except for one row, which sets the number of distinct levels."""
    level, amount = 128, 0.2
    x = torch.full((3, 400, 400), level / 255)
    x[:, 0, :levels] = torch.arange(levels) / 255
    noise = (add_poisson(x, amount, grey, seeded(2)) - x)[:, 1:]
    wanted = amount**2 * (level / 255) / strength
    assert abs(noise.var().item() / wanted - 1) < 0.02
    assert abs(noise.mean().item()) < 5 * math.sqrt(wanted / 160_000)
    correlation = torch.corrcoef(noise.flatten(1))[0, 1].item()
    assert correlation > 0.999 if grey else abs(correlation) < 0.02


def test_dark_pixels_get_less_poisson_noise():
    x = (torch.arange(256) / 255).repeat(3, 256, 1)
    noise = add_poisson(x, 0.1, False, seeded(3)) - x
    deviation = noise.std((0, 1))
    assert deviation[0] == 0 and abs(deviation[64] / deviation[128] - math.sqrt(0.5)) < 0.1


@pytest.mark.parametrize("value", [0.0, 1.0, -0.3, 1.4])
def test_noise_stays_in_range(value):
    x = torch.full((3, 20, 20), value)
    for noisy in (
        add_gaussian(x, 0.2, True, seeded(1)),
        add_poisson(x, 3, False, seeded(1)),
        add_poisson(x, 3, True, seeded(1)),
    ):
        assert noisy.min() >= 0 and noisy.max() <= 1 and noisy.isfinite().all()


def test_a_ragged_batch_gets_each_image_its_own_noise(generator):
    stages = [
        Stage(None, 1, "area", "gaussian", 0.1, grey=False),
        Stage(None, 1, "area", "poisson", 1.5, grey=True),
        Stage(None, 1, "area", "poisson", 1.5, grey=False),
        Stage(None, 1, "area", "gaussian", 0.1, grey=True),
        Stage(None, 1, "area", "poisson", 1.5, grey=False),
    ]
    sizes = [(40, 30), (13, 50), (40, 50), (1, 1), (20, 20)]
    x = torch.rand((5, 3, 40, 50), generator=generator) * 1.2 - 0.1
    x[4, :, :20, :20] = x[4, :, :20, :20].round()  # two levels, with more of them outside
    together = add_noise_ragged(x, stages, sizes, [seeded(i) for i in range(5)])
    assert together.min() >= 0 and together.max() <= 1
    for i, (stage, (h, w)) in enumerate(zip(stages, sizes, strict=True)):
        add = add_gaussian if stage.noise == "gaussian" else add_poisson
        alone = add(x[i, :, :h, :w], stage.amount, stage.grey, seeded(i))
        assert (together[i, :, :h, :w] - alone).abs().max() < 1e-6, i


def test_two_samples_share_no_field():
    """Grey noise too, which the published pipeline draws once for the whole batch."""
    x = torch.full((2, 3, 300, 300), 0.5)
    for noise, amount in (("gaussian", 0.05), ("poisson", 0.5)):
        stages = 2 * [Stage(None, 1, "area", noise, amount, grey=True)]
        noisy = add_noise_ragged(x, stages, 2 * [(300, 300)], [seeded(1), seeded(2)])
        assert abs(torch.corrcoef((noisy - x)[:, 0].flatten(1))[0, 1].item()) < 0.02
