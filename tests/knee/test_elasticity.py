"""The slope of the plateau: flat plateaus pass, rising ones and short ones do not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from lsr.knee import KneeDetector
from lsr.knee.consensus import MeasuredRun
from lsr.knee.elasticity import FLAT, upper_elasticity, why_not_flat
from lsr.knee.network import BINS, EDGES, EVENTS, FUTURE, QUANTILES, Ensemble, trained_ensemble

STEPS = np.arange(1, 61) * 500


def measured(curve: Callable[[np.ndarray], np.ndarray], count: int = 60) -> MeasuredRun:
    """Measure the first validations of three noisy metrics whose rise takes 10,000 steps."""
    noise = 0.01 * np.random.default_rng(1).normal(size=(60, 3))
    rows = (curve(STEPS / 10_000)[:, None] + noise)[:count]
    return MeasuredRun.of(dict.fromkeys("abc", "max"), STEPS[:count].tolist(), rows.tolist())


def bound(run: MeasuredRun) -> float:
    assert run.consensus is not None
    return upper_elasticity(run.time, run.consensus)


def plateau(x: np.ndarray) -> np.ndarray:
    return np.minimum(x, 1.0)


def test_a_flat_plateau_passes() -> None:
    run = measured(plateau)
    assert run.consensus is not None
    assert abs(bound(run)) < 0.05 and why_not_flat(run.time, run.consensus) == ""


def test_the_bound_of_a_line_is_above_the_limit() -> None:
    run = measured(lambda x: x)
    assert not bound(run) <= FLAT


def test_a_short_plateau_is_not_judged_and_a_longer_one_is_judged_ever_closer() -> None:
    assert math.isinf(bound(measured(plateau, 23)))
    bounds = [bound(measured(plateau, count)) for count in (30, 40, 60)]
    assert bounds[0] > bounds[2] and all(value < FLAT for value in bounds)


def test_a_fall_asks_for_a_longer_wait() -> None:
    def falls(x: np.ndarray) -> np.ndarray:
        return plateau(x) - 0.5 * (x > 1.4)

    assert bound(measured(plateau, 32)) < FLAT and math.isinf(bound(measured(falls, 32)))


def sure_of_half_the_time() -> Ensemble:
    """Return a network that always places the knee at half of the elapsed time."""
    trained = trained_ensemble()
    bias = np.zeros(EVENTS * BINS + len(FUTURE) * len(QUANTILES))
    for event, time in enumerate((0.3, 0.5, 0.9)):
        bias[event * BINS + int(np.searchsorted(EDGES, time))] = 50.0
    weight = np.zeros((len(trained.mean), len(bias)))
    return Ensemble(trained.mean, trained.scale, [[(weight, bias)]])


@pytest.mark.parametrize(("slope", "confirmed"), [(0.0, True), (1.0, False)])
def test_a_sure_network_alone_does_not_confirm(slope: float, confirmed: bool) -> None:
    detector = KneeDetector({"m": "max"}, ensemble=sure_of_half_the_time())
    for step, x in zip(STEPS, STEPS / 10_000, strict=True):
        verdict = detector.update(int(step), {"m": min(x, 1.0) + slope * max(x - 1, 0.0)})
    assert (verdict.knee_step is not None) == confirmed
