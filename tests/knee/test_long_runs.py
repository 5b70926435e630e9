"""The detector on runs with very many validations."""

import tracemalloc

import numpy as np
import pytest

from lsr.knee import KneeDetector, signal

METRICS = {"a": "max", "b": "min", "c": "max"}


@pytest.mark.parametrize(("count", "half"), [(5, 1), (40, 3), (101, 30), (300, 299)])
def test_sliding_medians_are_those_of_sorting_every_window(count, half, monkeypatch):
    values = np.random.default_rng(count).normal(size=(2, count)).round(1)
    sorted_once = signal.running_median(values, half)
    trailing = signal._trailing_median(values[0], half)
    monkeypatch.setattr(signal, "_SORTED_AT_ONCE", 0)
    assert np.array_equal(signal.running_median(values, half), sorted_once)
    assert np.array_equal(signal._trailing_median(values[0], half), trailing)
    unknown = np.full((1, count), np.nan)
    assert np.isnan(signal.running_median(unknown, half)).all()


def test_ten_thousand_validations_take_little_memory():
    count = 10_000
    noise = np.random.default_rng(0).normal(0, 0.02, (3, count))
    curves = 1 - np.exp(-np.arange(1, count + 1) / 1000) + noise
    detector = KneeDetector(METRICS, min_step=10**9)
    state = detector.state_dict()
    state["steps"] = list(range(1, count))
    state["values"] = curves[:, :-1].T.tolist()
    state["candidates"] = [1]
    state["last_step"] = count - 1
    detector.load_state_dict(state)
    newest = dict(zip(METRICS, (curves[:, -1] * [1, -1, 1]).tolist(), strict=True))
    tracemalloc.start()
    verdict = detector.update(count, newest)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert verdict.consensus == pytest.approx(1, abs=0.05) and peak < 20e6


def test_a_forgotten_candidate_is_not_proposed_again():
    detector = KneeDetector({"a": "max"})
    for step in range(1, 6):
        detector.update(step, {"a": float(step)})
    detector.forget({2, 4})
    assert not {2, 4} & set(detector.update(6, {"a": 6.0}).candidates)
