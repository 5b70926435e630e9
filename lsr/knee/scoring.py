"""Score detectors of the knee on simulated runs, fed point by point."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lsr.knee.detector import KneeDetector
from lsr.knee.simulator import SimulatedCurve, simulate

Pick = tuple[int, int] | None
"""Step of the knee and step of its confirmation; None if no knee was confirmed."""
Rule = Callable[[SimulatedCurve], Pick]

RATES = ("found", "early", "late", "missed", "false alarm")
UNDECIDED = 1.25
"""A run that ends just before its knee, within this factor, is drawn again."""
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of one rule on one run.

    Attributes:
        word: One of `RATES`, or "quiet" for a run without a knee in which none was confirmed.
        delay: Number of validations from the knee to its confirmation; None unless it was found.
    """

    word: str
    delay: int | None = None


def this_detector(curve: SimulatedCurve, **settings: Any) -> Pick:
    """Feed a run to a new `KneeDetector` with some settings."""
    detector = KneeDetector(curve.metrics, **settings)
    for step, values in zip(curve.steps, curve.rows(), strict=True):
        verdict = detector.update(int(step), values)
        if verdict.knee_step is not None and verdict.confirmed_at_step is not None:
            return verdict.knee_step, verdict.confirmed_at_step
    return None


def draw_runs(
    seed: int, count: int, families: Sequence[str] | None = None, longest: int = 500
) -> list[SimulatedCurve]:
    """Draw runs that have a knee well inside or well beyond their end.

    Args:
        seed: Seed of the generator.
        count: Number of runs.
        families: Families of rises, None for all.
        longest: Largest number of validations.
    """
    generator = np.random.default_rng(seed)
    runs: list[SimulatedCurve] = []
    while len(runs) < count:
        curve = simulate(generator, families)
        undecided = curve.steps[-1] < curve.knee < UNDECIDED * curve.steps[-1]
        if not undecided and len(curve.steps) <= longest:
            runs.append(curve)
    return runs


def judge_pick(curve: SimulatedCurve, pick: Pick) -> Outcome:
    """Compare a pick with the true knee of a run."""
    if pick is None:
        return Outcome("missed" if curve.has_knee else "quiet")
    knee, confirmed = pick
    first, last = curve.tolerance
    if not curve.has_knee:
        return Outcome("quiet" if first <= knee <= last else "false alarm")
    if knee < first:
        return Outcome("early")
    if knee > last:
        return Outcome("late")
    after = np.count_nonzero((curve.steps > curve.knee) & (curve.steps <= confirmed))
    before = np.count_nonzero((curve.steps > confirmed) & (curve.steps <= curve.knee))
    return Outcome("found", int(after) - int(before))


def rates(
    curves: Sequence[SimulatedCurve], outcomes: Sequence[Outcome]
) -> dict[str, tuple[float, float, float]]:
    """Return each rate with its 95 % interval (bootstrap over runs), and the median delay.

    False alarms are a fraction of the runs without a knee, the other rates of those with one.
    """
    generator = np.random.default_rng(0)
    knee = np.array([curve.has_knee for curve in curves])
    words = np.array([outcome.word for outcome in outcomes])
    found: dict[str, tuple[float, float, float]] = {}
    for rate in RATES:
        hits = (words == rate)[knee != (rate == "false alarm")]
        if not hits.size:
            found[rate] = (math.nan, math.nan, math.nan)
            continue
        again = generator.integers(len(hits), size=(RESAMPLES, len(hits)))
        low, high = np.quantile(hits[again].mean(axis=1), (0.025, 0.975))
        found[rate] = (float(hits.mean()), float(low), float(high))
    delays = [outcome.delay for outcome in outcomes if outcome.delay is not None]
    middle = np.quantile(delays, (0.5, 0.1, 0.9)) if delays else np.full(3, math.nan)
    found["delay"] = (float(middle[0]), float(middle[1]), float(middle[2]))
    return found


def correct_by_family(
    curves: Sequence[SimulatedCurve], outcomes: Sequence[Outcome]
) -> dict[str, tuple[int, int]]:
    """Return for each family how many runs were judged correctly, and of how many."""
    table: dict[str, tuple[int, int]] = {}
    for curve, outcome in zip(curves, outcomes, strict=True):
        right, total = table.get(curve.family, (0, 0))
        table[curve.family] = (right + (outcome.word in ("found", "quiet")), total + 1)
    return dict(sorted(table.items()))


def compare(
    curves: Sequence[SimulatedCurve], rules: Mapping[str, Rule]
) -> dict[str, list[Outcome]]:
    """Return the outcomes of several rules on the same runs."""
    return {
        name: [judge_pick(curve, rule(curve)) for curve in curves] for name, rule in rules.items()
    }
