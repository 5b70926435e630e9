import math

import numpy as np
import pytest
import torch

from lsr.training.divergence import non_finite
from lsr.training.robust_score import RobustScore


def fed(values):
    score = RobustScore(window=200, warm_up=20)
    for value in values:
        score.accept(value)
    return score


def test_the_score_is_in_robust_standard_deviations_of_the_logarithm():
    rng = np.random.default_rng(0)
    score = fed(np.exp(rng.normal(1.0, 0.2, 200)))
    assert score(math.exp(1.0 + 5 * 0.2)) == pytest.approx(5, abs=0.7)
    assert abs(score(math.exp(1.0))) < 0.3
    assert score(math.nan) == score(math.inf) == math.inf


def test_a_score_does_not_depend_on_the_unit_and_ignores_outliers():
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(0, 0.3, 200))
    assert fed(values * 1000)(5000) == pytest.approx(fed(values)(5))
    spoilt = values.copy()
    spoilt[::10] = 1e9
    assert fed(spoilt)(5) == pytest.approx(fed(values)(5), rel=0.4)


def test_nothing_is_judged_in_warm_up_and_a_constant_is_no_division_by_zero():
    assert fed([1.0] * 19)(1e9) == 0
    assert math.isfinite(fed([1.0] * 50)(1.5))


def test_whether_a_score_reaches_a_threshold_is_what_the_score_says():
    rng = np.random.default_rng(1)
    for spread in (0, 0.001, 0.1, 2.0):
        score = fed(np.exp(rng.normal(0, spread, 350)))  # more than the window holds
        for value in np.exp(rng.normal(0, 12 * max(spread, 0.01), 60)):
            for threshold in (0.5, 3.0, 10.0):
                assert score.reaches(value, threshold) == (score(value) >= threshold)
    assert score.reaches(math.nan, 3) and not fed([1.0] * 5).reaches(1e9, 3)


def test_the_window_forgets_the_oldest_values():
    kept = fed([*np.linspace(5, 9, 77), *np.linspace(1, 2, 200)])
    assert kept(3.0) == fed(np.linspace(1, 2, 200))(3.0)


def test_names_of_non_finite_tensors():
    tensors = [
        ("a", torch.ones(2)),
        ("b", torch.tensor([1.0, math.nan])),
        ("none", None),
        ("c", torch.tensor(math.inf)),
        ("large", torch.full((4,), 3e38)),
        ("integers", torch.ones(2, dtype=torch.int8)),
    ]
    assert non_finite(tensors) == ["b", "c"] and non_finite(tensors, limit=1) == ["b"]
