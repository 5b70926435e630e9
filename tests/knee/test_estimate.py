"""The estimate of the network: proper distributions, forecast, creeping curves, scores."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lsr.knee import KneeDetector, KneeVerdict
from lsr.knee.benchmark import benchmark_in_words, run_benchmark
from lsr.knee.network import BINS, EDGES, KneeEstimate, trained_ensemble
from lsr.knee.peers import OPTIONAL
from lsr.knee.scoring import Outcome, draw_runs, judge_pick, rates, this_detector

STEPS = np.arange(1, 61) * 500


def last_verdict(height: np.ndarray, noise: float = 0.01, seed: int = 0) -> KneeVerdict:
    generator = np.random.default_rng(seed)
    detector = KneeDetector({"psnr": "max", "niqe": "min"})
    for step, value in zip(STEPS, height, strict=True):
        draws = noise * generator.normal(size=2)
        values = {"psnr": 20 + 5 * (value + draws[0]), "niqe": 9 - 2 * (value + draws[1])}
        verdict = detector.update(int(step), values)
    return verdict


def test_probabilities_are_monotone_and_bounded() -> None:
    ensemble = trained_ensemble()
    generator = np.random.default_rng(0)
    times = np.geomspace(0.01, 20, 100)
    for _ in range(20):
        estimate = ensemble.estimate(generator.normal(size=len(ensemble.mean)) * 3)
        assert estimate.cumulative.shape == (3, BINS)
        assert np.all(np.diff(estimate.cumulative, axis=1) >= 0)
        assert 0 <= estimate.passes(times).min() <= estimate.passes(times).max() <= 1 + 1e-9
        assert np.all(np.diff(estimate.remaining, axis=1) >= 0)


def test_the_quantile_of_the_knee_inverts_its_distribution() -> None:
    bins = np.zeros((3, BINS))
    bins[:, 20:24] = 0.2  # 20 % beyond the last edge
    estimate = KneeEstimate(np.minimum(bins.cumsum(axis=1) - bins, 0.8), np.zeros((2, 3)))
    middle = estimate.knee_quantile(0.4)
    assert middle is not None and estimate.before(1, middle) == pytest.approx(0.4, abs=1e-6)
    assert EDGES[18] < middle < EDGES[24] and estimate.knee_quantile(0.9) is None


def test_a_plateau_has_an_interval_and_little_to_come() -> None:
    verdict = last_verdict(-np.expm1(-3 * STEPS / 8000))
    assert verdict.knee_step is not None and verdict.interval is not None
    low, high = verdict.interval
    assert low is not None and high is not None and low < 8200 < high < 40_000
    assert not verdict.creeping
    for forecast in verdict.remaining["psnr"]:
        assert forecast["low"] <= forecast["gain"] <= forecast["high"] < 1
    assert KneeVerdict.from_plain(json.loads(json.dumps(vars(verdict)))) == verdict


def test_a_logarithm_creeps() -> None:
    height = np.log1p(20 * STEPS / STEPS[-1]) / np.log(21)
    verdict = last_verdict(height)
    assert verdict.knee_step is None and verdict.creeping.startswith("no plateau: ")
    to_come = verdict.remaining["psnr"][1]
    true = 5 * (np.log1p(40) / np.log(21) - 1)
    assert to_come["step"] == 60_000 and to_come["low"] < true < to_come["high"]


def test_picks_are_judged_by_the_tolerance() -> None:
    run = next(run for run in draw_runs(5, 20) if run.has_knee)
    first, last = run.tolerance
    end = int(run.steps[-1])
    assert judge_pick(run, None).word == "missed"
    assert judge_pick(run, (int(first) - 1, end)).word == "early"
    assert judge_pick(run, (int(last) + 1, end)).word == "late"
    found = judge_pick(run, (int(run.knee), end))
    assert found.word == "found" and found.delay == np.count_nonzero(run.steps > run.knee)


def test_rates_have_intervals() -> None:
    runs = [run for run in draw_runs(6, 40) if run.has_knee]
    outcomes = [Outcome("found", 3) for _ in runs]
    outcomes[0] = Outcome("early")
    found, low, high = rates(runs, outcomes)["found"]
    assert low < found == 1 - 1 / len(runs) and high == 1
    assert rates(runs, outcomes)["delay"][0] == 3


def test_the_detector_finds_most_knees_of_fresh_simple_runs() -> None:
    runs = draw_runs(9, 24, ["exponential", "logistic", "gompertz"], longest=80)
    words = [judge_pick(run, this_detector(run)).word for run in runs]
    assert sum(word in ("found", "quiet") for word in words) >= 19


def test_the_benchmark_names_rules_and_families() -> None:
    report = run_benchmark(seed=1, count=6)
    words = benchmark_in_words(report)
    for name in ("this detector", "elasticity test", "Prechelt UP3", "EarlyStopping(patience=5)"):
        assert name in report["rules"] and name in words
    for name, (package, _) in OPTIONAL.items():
        missing = package in report["not_installed"]
        assert missing == (name not in report["rules"])
        assert not missing or package in words
    assert sum(row["runs"] for row in report["families"].values()) == 6
    json.dumps(report, allow_nan=False)
