"""Simulated runs: the knee is where it is said to be, and draws are reproducible."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lsr.knee.simulated_families import ENDLESS, LEVELS, SATURATING, Rise
from lsr.knee.simulator import simulate


@pytest.mark.parametrize("family", SATURATING)
def test_a_saturating_rise_has_made_95_percent_of_its_gain_at_time_1(family: str) -> None:
    for seed in range(5):
        rise = Rise.saturating(family, np.random.default_rng(seed))
        assert np.allclose(rise.curve(np.array(rise.passing)), LEVELS, atol=0.005)
        heights = rise.curve(np.linspace(0, 3, 400))
        assert abs(heights[0]) < 1e-6 and np.all(np.diff(heights) > -1e-6)
        assert rise.curve(np.array([1e9]))[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("family", ENDLESS)
def test_an_endless_rise_still_rises_at_its_end(family: str) -> None:
    for seed in range(5):
        rise = Rise.endless(family, np.random.default_rng(seed))
        start, before, end = rise.curve(np.array([0.0, 0.9, 1.0]))
        assert math.isinf(rise.passing[1]) and end - before > 0.005 * (end - start)


@pytest.mark.parametrize("family", SATURATING)
def test_levels_are_shares_of_the_gain_that_validations_see(family: str) -> None:
    for seed in range(5):
        rise = Rise.saturating(family, np.random.default_rng(seed))
        seen = rise.seen_from(0.3)
        start, end = seen.curve(np.array([0.3, 1e9]))
        heights = seen.curve(np.array(seen.passing))
        assert np.allclose(heights, start + (end - start) * np.array(LEVELS), atol=0.005)
        assert end - start >= 0.5


@pytest.mark.parametrize("family", ENDLESS)
def test_most_of_an_endless_rise_can_be_seen(family: str) -> None:
    for seed in range(5):
        seen = Rise.endless(family, np.random.default_rng(seed)).seen_from(0.1)
        start, end, base = seen.curve(np.array([0.1, 1.0, 0.0]))
        assert math.isinf(seen.passing[1]) and end - start >= 0.5 * (end - max(base, 0))


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (simulate(np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first.values, second.values, equal_nan=True)
    assert first.tolerance == second.tolerance and first.metrics == second.metrics


def test_runs_are_well_formed() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        run = simulate(generator)
        first, last = run.tolerance
        assert np.all(np.diff(run.steps) > 0) and run.steps[0] >= 0 and len(run.steps) >= 10
        assert run.values.shape == (len(run.directions), len(run.steps))
        assert math.isinf(run.knee) or first < run.knee < last
        assert run.truth(run.steps).shape[1] == len(run.steps)
        assert all(map(math.isfinite, [v for row in run.rows() for v in row.values()]))


def test_only_the_chosen_families_are_drawn() -> None:
    generator = np.random.default_rng(1)
    assert {simulate(generator, ["hill", "logarithm"]).family for _ in range(40)} == {
        "hill",
        "logarithm",
    }
