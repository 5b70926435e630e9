"""The knee detector: invariances, kept candidates, state, and hit rates on simulated curves."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from lsr.knee import KneeDetector, KneeVerdict

Curve = Callable[[np.ndarray], np.ndarray]

KNEED: dict[str, Curve] = {
    "exponential": lambda x: -np.expm1(-3 * x),
    "logistic": lambda x: 1 / (1 + np.exp(5 - 8 * x)),
    "corner": lambda x: np.minimum(x / 1.05, 1.0),
    "power law": lambda x: 1 - (1 + 3.47 * x) ** -2.0,
}
RISING: dict[str, Curve] = {
    "line": lambda x: x,
    "square root": np.sqrt,
    "logarithm": lambda x: np.log1p(30 * x),
    "half an exponential": lambda x: -np.expm1(-x),
    "accelerating": lambda x: x**2,
}


def draw(
    curve: Curve, time: np.ndarray, noise: float, seed: int, metrics: int = 3
) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {f"m{i}": curve(time) + noise * generator.normal(size=len(time)) for i in range(metrics)}


def replay(
    steps: np.ndarray, values: dict[str, np.ndarray], direction: str = "max", **settings
) -> list[KneeVerdict]:
    detector = KneeDetector(metrics=dict.fromkeys(values, direction), **settings)
    return [
        detector.update(int(step), {name: float(y[i]) for name, y in values.items()})
        for i, step in enumerate(steps)
    ]


def decisions(history: list[KneeVerdict]) -> list[tuple]:
    return [(v.knee_step, v.confirmed_at_step, v.candidates, v.candidate_step) for v in history]


STEPS = np.arange(1, 61) * 500
TIME = STEPS / 10_000  # the knee is at step 10,000
EXAMPLE = draw(KNEED["exponential"], TIME, 0.02, seed=4)


@pytest.mark.parametrize("shape", KNEED)
def test_finds_the_knee_in_most_runs(shape: str) -> None:
    hits = 0
    for seed in range(10):
        verdict = replay(STEPS, draw(KNEED[shape], TIME, 0.02, seed))[-1]
        gained = float(KNEED[shape](np.array([(verdict.knee_step or 0) / 10_000]))[0]) / float(
            KNEED[shape](np.array([50.0]))[0]
        )
        hits += 0.84 <= gained and (verdict.knee_step or math.inf) <= 16_000
    assert hits >= 8


@pytest.mark.parametrize("shape", RISING)
def test_a_curve_that_still_rises_is_never_confirmed(shape: str) -> None:
    for seed in range(3):
        assert (
            replay(STEPS, draw(RISING[shape], np.arange(1, 61) / 60, 0.01, seed))[-1].knee_step
            is None
        )


def test_pure_noise_and_constants_are_not_confirmed() -> None:
    noise = draw(np.zeros_like, TIME, 1.0, seed=0)
    assert replay(STEPS, noise)[-1].knee_step is None
    last = replay(STEPS, {"flat": np.full(60, 7.0)})[-1]
    assert last.knee_step is None and not last.per_metric["flat"]["informative"]


def test_confirmation_is_bounded_and_stays() -> None:
    history = replay(STEPS, EXAMPLE)
    confirmed = next(v for v in history if v.knee_step is not None)
    assert confirmed.confirmed_at_step == confirmed.step <= 2 * 10_000
    assert all(v == confirmed for v in history if v.step >= confirmed.step)
    assert confirmed.candidates == (confirmed.knee_step,)


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0.0), (100.0, 3.0), (0.3, -1e3)])
def test_units_do_not_matter(scale: float, offset: float) -> None:
    scaled = {name: scale * y + offset for name, y in EXAMPLE.items()}
    assert decisions(replay(STEPS, scaled)) == decisions(replay(STEPS, EXAMPLE))


def test_direction_does_not_matter() -> None:
    flipped = replay(STEPS, {name: -y for name, y in EXAMPLE.items()}, direction="min")
    assert decisions(flipped) == decisions(replay(STEPS, EXAMPLE))


def test_the_unit_of_steps_does_not_matter() -> None:
    base, scaled = replay(STEPS, EXAMPLE)[-1], replay(STEPS * 64, EXAMPLE)[-1]
    assert (scaled.knee_step, scaled.confirmed_at_step) == (
        64 * base.knee_step,
        64 * base.confirmed_at_step,
    )


def test_a_metric_with_another_unit_and_a_misleading_one_do_not_move_the_knee_far() -> None:
    abstained = 0
    for seed in range(8):
        generator = np.random.default_rng(seed)
        values = EXAMPLE | {"m2": 50 + 9 * EXAMPLE["m2"], "noise": generator.normal(size=60)}
        last = replay(STEPS, values)[-1]
        assert 6_000 <= last.knee_step <= 16_000 and last.per_metric["m2"]["informative"]
        abstained += not last.per_metric["noise"]["informative"]
    assert abstained >= 7  # over few validations the range of pure noise may pass for a gain


def test_a_single_metric_is_enough() -> None:
    assert 6_000 <= replay(STEPS, {"m0": EXAMPLE["m0"]})[-1].knee_step <= 16_000


def test_missing_and_nan_values_are_tolerated() -> None:
    detector = KneeDetector(metrics={"m0": "max", "m1": "max", "m2": "max", "absent": "min"})
    generator = np.random.default_rng(2)
    for i, step in enumerate(STEPS):
        values = {name: float(y[i]) for name, y in EXAMPLE.items() if generator.random() > 0.2}
        if i % 7 == 3:
            values["m1"] = math.nan
        verdict = detector.update(int(step), values, loss=0.1)
    assert 6_000 <= verdict.knee_step <= 16_000
    assert not verdict.per_metric["absent"]["informative"]


def test_uneven_steps() -> None:
    steps = np.unique(np.cumsum(np.random.default_rng(3).integers(50, 1200, size=60)))
    assert (
        6_000
        <= replay(steps, draw(KNEED["exponential"], steps / 10_000, 0.02, seed=5))[-1].knee_step
        <= 16_000
    )


@pytest.mark.parametrize(
    ("curve", "count", "max_candidates"), [("square root", 300, 6), ("power law", 100, 3)]
)
def test_candidates_are_bounded_and_never_come_back(
    curve: str, count: int, max_candidates: int
) -> None:
    time = np.arange(1, count + 1) / 40
    previous: set[int] = set()
    for verdict in replay(
        np.arange(1, count + 1) * 100,
        draw((KNEED | RISING)[curve], time, 0.05, seed=6),
        max_candidates=max_candidates,
    ):
        kept = set(verdict.candidates)
        assert len(kept) == len(verdict.candidates) <= max_candidates
        assert kept <= previous | {verdict.step}
        assert verdict.knee_step is None or verdict.knee_step in kept
        previous = kept


def test_a_reloaded_state_gives_the_same_verdicts_from_every_point() -> None:
    history = replay(STEPS, EXAMPLE)
    detector = KneeDetector(metrics=dict.fromkeys(EXAMPLE, "max"))
    for i, step in enumerate(STEPS):
        verdict = detector.update(int(step), {name: float(y[i]) for name, y in EXAMPLE.items()})
        assert verdict == history[i]
        state = json.loads(json.dumps(detector.state_dict(), allow_nan=False))
        detector = KneeDetector(metrics=dict.fromkeys(EXAMPLE, "max"))
        detector.load_state_dict(state)


def test_a_verdict_is_plain_frozen_json() -> None:
    for verdict in replay(STEPS, EXAMPLE | {"flat": np.zeros(60)}):
        json.dumps(dataclasses.asdict(verdict), allow_nan=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.step = 0


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_non_finite_loss_ends_the_search(loss: float) -> None:
    detector = KneeDetector(metrics=dict.fromkeys(EXAMPLE, "max"))
    for i, step in enumerate(STEPS):
        verdict = detector.update(
            int(step),
            {name: float(y[i]) for name, y in EXAMPLE.items()},
            loss=loss if i == 20 else 0.1,
        )
        assert verdict.diverged == (i >= 20)
    assert verdict.knee_step is None


def test_two_validations_without_a_finite_metric_are_a_divergence() -> None:
    detector = KneeDetector(metrics={"m": "max"})
    nan = {"m": math.nan}
    assert [
        detector.update(i, values).diverged
        for i, values in enumerate([{"m": 1.0}, nan, {"m": 2.0}, nan, nan])
    ] == [False] * 4 + [True]
    detector = KneeDetector(metrics={"m": "max"})
    assert not any(detector.update(i, {}).diverged for i in range(5))
    assert not any(detector.update(i, nan, loss=0.1).diverged for i in range(5, 10))


def test_min_step_holds_the_confirmation_back() -> None:
    held = replay(STEPS, EXAMPLE, min_step=20_000)
    assert all(v.knee_step is None for v in held if v.step < 20_000)
    assert held[-1].confirmed_at_step >= 20_000


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="has no metrics: name at least one"):
        KneeDetector(metrics={})
    with pytest.raises(ValueError, match="'max' or 'min'"):
        KneeDetector(metrics={"m": "up"})
    for setting in ({"min_step": -1}, {"confidence": 1.0}, {"wait": 0.0}, {"max_candidates": 2}):
        with pytest.raises(ValueError, match="the knee needs min_step"):
            KneeDetector(metrics={"m": "max"}, **setting)
    detector = KneeDetector(metrics={"m": "max"})
    detector.update(10, {"m": 1.0})
    with pytest.raises(ValueError, match="must be >= 0, not -1"):
        detector.update(-1, {"m": 1.0})
    for metrics in ({"m": "min"}, {"n": "max"}, {"m": "max", "n": "max"}):
        with pytest.raises(ValueError, match="the checkpoint's knee watches the metrics"):
            KneeDetector(metrics=metrics).load_state_dict(detector.state_dict())
