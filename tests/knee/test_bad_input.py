"""Validations that cannot show a knee: the verdict says why in one line, nothing is confirmed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import numpy as np
import pytest

from lsr.knee import KneeDetector, KneeVerdict

METRICS = {"psnr": "max", "niqe": "min"}


def rise(step: int) -> dict[str, float]:
    """Two metrics with a knee at step 600."""
    noise = np.random.default_rng(step).normal(0, 0.01, 2)
    height = -math.expm1(-step / 200)
    return {"psnr": 20 + 5 * (height + noise[0]), "niqe": 9 - 2 * (height + noise[1])}


def judge(validations: Iterable[tuple[int, dict[str, float]]]) -> list[KneeVerdict]:
    detector = KneeDetector(METRICS)
    return [detector.update(step, values, loss=1.0) for step, values in validations]


STEPS = range(50, 3001, 50)


def test_the_clean_run_has_a_knee() -> None:
    assert judge((step, rise(step)) for step in STEPS)[-1].knee_step is not None


def test_fewer_than_seven_validations() -> None:
    steps = np.geomspace(10, 3000, 12).astype(int).tolist()
    for count, verdict in enumerate(judge((step, rise(step)) for step in steps[:6]), 1):
        several = "s" if count > 1 else ""
        expected = f"only {count} validation{several} so far: a knee needs at least 7"
        assert verdict.reason == expected
        assert verdict.knee_step is None and verdict.provisional_step is None
    assert "only" not in judge((step, rise(step)) for step in steps[:7])[-1].reason


@pytest.mark.parametrize("missing", [False, True])
def test_all_metrics_constant(missing: bool) -> None:
    values = {"psnr": 20.0} if missing else {"psnr": 20.0, "niqe": 0.0}
    last = judge((step, values) for step in STEPS)[-1]
    assert last.reason == "no metric has changed in 60 validations: there is no rise, and no knee"
    assert last.knee_step is None and last.candidate_step is None


@pytest.mark.parametrize("back", [0, 100])
def test_steps_that_repeat_or_go_back(back: int) -> None:
    steps = [*STEPS[:8], STEPS[7] - back, *STEPS[8:]]
    history = judge((step, rise(step)) for step in steps)
    how = "after step 400" if back else "twice"
    said = f"step {400 - back} came {how}: the steps of one run increase, so nothing is confirmed"
    assert all(verdict.reason == said for verdict in history[8:])
    assert history[-1].knee_step is None and history[7].reason != history[8].reason


def test_a_repeat_is_remembered_in_the_state_and_does_not_undo_a_confirmation() -> None:
    detector = KneeDetector(METRICS)
    for step in (50, 100, 100):
        verdict = detector.update(step, rise(step))
    resumed = KneeDetector(METRICS)
    resumed.load_state_dict(json.loads(json.dumps(detector.state_dict())))
    assert resumed.update(150, rise(150)).reason == verdict.reason
    steps = [*STEPS, STEPS[0]]
    history = judge((step, rise(step)) for step in steps)
    assert history[-1].knee_step is not None and history[-1] == history[-2]


@pytest.mark.parametrize("end", ["missing", "nan"])
def test_a_metric_that_is_gone_for_good(end: str) -> None:
    def ends(step: int) -> dict[str, float]:
        values = rise(step)
        gone = {} if end == "missing" else {"niqe": math.nan}
        return values if step <= 500 else {"psnr": values["psnr"]} | gone

    history = judge((step, ends(step)) for step in STEPS)
    assert "niqe has no finite value since step 500: nothing is confirmed" in history[-1].reason
    assert all(verdict.knee_step is None for verdict in history)
    said = [verdict.step for verdict in history if "niqe has no" in verdict.reason]
    assert said == list(range(750, 3001, 50))


def test_a_metric_that_comes_back_and_one_that_is_rare_do_not_stop_the_search() -> None:
    def away(step: int) -> dict[str, float]:
        return rise(step) if not 200 < step < 800 else {"psnr": rise(step)["psnr"]}

    def rare(step: int) -> dict[str, float]:
        return rise(step) if step % 200 == 0 else {"psnr": rise(step)["psnr"]}

    for validation in (away, rare):
        history = judge((step, validation(step)) for step in STEPS)
        assert history[-1].knee_step is not None
    assert not any("niqe has no" in v.reason for v in judge((s, rare(s)) for s in STEPS))
