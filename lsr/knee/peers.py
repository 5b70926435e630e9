"""Other rules that find a knee or end a training run, for comparison with the detector.

Each rule reads a simulated run point by point. It returns the step that it picks and the step at
which it has decided, or None.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterator

import numpy as np

from lsr.knee.consensus import Consensus, MeasuredRun
from lsr.knee.elasticity import FLAT, upper_elasticity
from lsr.knee.replay import early_stopping
from lsr.knee.scoring import Pick, Rule
from lsr.knee.signal import (
    Array,
    neighbour_residual,
    running_median,
    standard_deviation,
)
from lsr.knee.simulator import SimulatedCurve

_FEWEST = 7
"""No rule that looks at the shape of the curve decides on fewer validations."""
_STRIP = 5
"""Number of validations of a strip of Prechelt's rule."""
_PENALTY = 3.0
"""Penalty of a change point of PELT, in variances times the logarithm of the length."""


def upward(curve: SimulatedCurve) -> Array:
    """Return the metrics of a run, turned so that more is better, `(metrics, n)`."""
    signs = np.array([1 if direction == "max" else -1 for direction in curve.directions])
    return curve.values * signs[:, None]


def best_checkpoint(curve: SimulatedCurve) -> Pick:
    """Pick the best value of the first metric, at the end of the run."""
    last = int(curve.steps[-1])
    return int(curve.steps[np.nanargmax(upward(curve)[0])]), last


def stop_early(patience: int) -> Rule:
    """Return Lightning's `EarlyStopping` on the first metric."""

    def rule(curve: SimulatedCurve) -> Pick:
        known = np.isfinite(curve.values[0])
        points = [
            (int(step), float(value))
            for step, value in zip(curve.steps[known], upward(curve)[0][known], strict=True)
        ]
        picked, stopped = early_stopping(points, "max", patience)
        return None if picked is None or stopped is None else (picked, stopped)

    return rule


def prechelt(curve: SimulatedCurve) -> Pick:
    """Stop when the first metric got worse over three strips in a row (UP3, Prechelt 1998).

    Picks the best value until then.
    """
    known = np.isfinite(curve.values[0])
    steps = curve.steps[known]
    values = upward(curve)[0][known]
    worse = 0
    for end in range(2 * _STRIP - 1, len(values), _STRIP):
        worse = worse + 1 if values[end] < values[end - _STRIP] else 0
        if worse == 3:
            return int(steps[np.argmax(values[: end + 1])]), int(steps[end])
    return None


def prefixes(curve: SimulatedCurve) -> Iterator[tuple[Array, Array, Consensus, int]]:
    """Yield steps, times, consensus and the half width of smoothing after every validation."""
    known = np.isfinite(curve.values).any(axis=0)
    steps = curve.steps[known]
    whole = steps.astype(int).tolist()
    rows = upward(curve)[:, known].T.tolist()
    for count in range(_FEWEST, len(steps) + 1):
        run = MeasuredRun.of(curve.metrics, whole[:count], rows[:count])
        if run.consensus is not None:
            yield steps[:count], run.time, run.consensus, run.half


def elasticity_test(curve: SimulatedCurve) -> Pick:
    """Confirm the arrival on the plateau once its slope shows that it is flat."""
    for steps, time, consensus, _ in prefixes(curve):
        if upper_elasticity(time, consensus) <= FLAT:
            return int(steps[consensus.arrival]), int(steps[-1])
    return None


def kneedle(curve: SimulatedCurve) -> Pick:
    """Take the first knee of the package kneed on the smoothed consensus (Kneedle, online)."""
    locator = importlib.import_module("kneed").KneeLocator
    for steps, time, consensus, half in prefixes(curve):
        smooth = running_median(consensus.curve, half)
        knee = locator(time, smooth, curve="concave", direction="increasing", online=True).knee
        if knee is not None and time[-1] > knee:
            return int(steps[np.searchsorted(time, knee)]), int(steps[-1])
    return None


def pelt(curve: SimulatedCurve) -> Pick:
    """Take the last change of the mean that is older than three validations (PELT of ruptures)."""
    ruptures = importlib.import_module("ruptures")
    for steps, time, consensus, _ in prefixes(curve):
        noise = max(standard_deviation(neighbour_residual(time, consensus.curve)), 1e-3)
        penalty = _PENALTY * noise**2 * math.log(len(time))
        changes = ruptures.Pelt("l2", jump=1).fit(consensus.curve).predict(pen=penalty)[:-1]
        if changes and len(time) - changes[-1] > max(3, changes[-1] // 3):
            return int(steps[changes[-1]]), int(steps[-1])
    return None


OPTIONAL: dict[str, tuple[str, Rule]] = {
    "kneed, online": ("kneed", kneedle),
    "PELT": ("ruptures", pelt),
}
"""Rules of packages that `lsr` does not need: the name of the rule, its package and the rule."""


def missing_packages() -> list[str]:
    """Return the packages of `OPTIONAL` that are not installed."""
    packages = [package for package, _ in OPTIONAL.values()]
    return [package for package in packages if importlib.util.find_spec(package) is None]


def peers() -> dict[str, Rule]:
    """Return the rules by name, without those whose package is not installed."""
    rules: dict[str, Rule] = {
        "best checkpoint at the end": best_checkpoint,
        "EarlyStopping(patience=5)": stop_early(5),
        "EarlyStopping(patience=10)": stop_early(10),
        "Prechelt UP3": prechelt,
        "elasticity test": elasticity_test,
    }
    missing = missing_packages()
    installed = {name: rule for name, (package, rule) in OPTIONAL.items() if package not in missing}
    return rules | installed
