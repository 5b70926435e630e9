"""One metric of a run as the figure of the knee shows it: in units of its own gain."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from lsr.knee.signal import SMOOTHING, Array, draw_up, local_noise, running_median
from lsr.knee.verdict import KneeVerdict
from lsr.runs.history import Validation


@dataclasses.dataclass(frozen=True)
class MetricCurve:
    """One metric in units of its own gain: 0 where its rise starts, 1 at its top.

    Attributes:
        steps: `(n,)` steps of its values.
        points: `(n,)` values.
        smooth: `(n,)` smoothed values.
        noise: `(n,)` standard deviation of the noise.
        base: Index at which the rise starts; an early bump lies before it.
    """

    steps: Array
    points: Array
    smooth: Array
    noise: Array
    base: int


def normalise_metric(
    history: Sequence[Validation], name: str, sign: int, verdict: KneeVerdict, abstains: bool
) -> MetricCurve | None:
    """Normalise a metric to the gain that was judged.

    Args:
        history: The validations so far.
        name: Name of the metric.
        sign: 1 if more is better, else -1.
        verdict: The newest verdict. Values after its step do not change the gain, so that a curve
            stays where it was when the knee was confirmed.
        abstains: Whether the metric abstains; then its scale is its whole range.

    Returns:
        The curve, or None if the metric has fewer than two finite values.
    """
    found = [
        (v.step, sign * v.values[name])
        for v in history
        if math.isfinite(v.values.get(name, math.nan))
    ]
    if len(found) < 2:
        return None
    steps, values = np.array(found, dtype=np.float64).T
    half = max(1, round(SMOOTHING * len(values))) if len(values) >= 5 else 0
    smooth = running_median(values, half)
    judged = smooth[: max(2, int(np.searchsorted(steps, verdict.step, side="right")))]
    base, top = draw_up(judged)
    start = judged[base]
    gain = judged[top] - judged[base]
    if gain <= 0 or abstains:
        base = 0
        start = values.min()
        gain = np.ptp(values) or 1.0
    noise = local_noise(steps, values) if len(values) > 2 else np.zeros(len(values))
    # The fall of an early bump does not blunt the start of the rise.
    parts = (smooth[:base], smooth[base:])
    rounded = np.concatenate([_running_mean(part, half) for part in parts])
    return MetricCurve(steps, (values - start) / gain, (rounded - start) / gain, noise / gain, base)


def _running_mean(values: Array, half: int) -> Array:
    """Return the mean over up to `half` values on each side, which smooths a running median.

    Near the start both sides of the window shrink equally, because the curve is steep there. Near
    the end only the right side shrinks: equal sides would leave the last values unsmoothed.
    """
    index = np.arange(len(values))
    left = np.minimum(index, half)
    right = np.minimum(left, index[::-1])
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[index + right + 1] - total[index - left]) / (left + right + 1)
