"""Measure the rise of every metric, and combine the informative metrics to the consensus."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lsr.knee.signal import (
    ARRIVED,
    SMOOTHING,
    Array,
    draw_up,
    fill_gaps,
    neighbour_residual,
    plateau_arrival,
    running_median,
    standard_deviation,
)

INFORMATIVE_GAIN = 4.0
"""A metric abstains if its gain is under this many standard deviations of its noise.

The range of smoothed pure noise is about 3 standard deviations.
"""


@dataclasses.dataclass(frozen=True)
class MetricRise:
    """The largest rise of one metric, in the units of the metric (more is better).

    Attributes:
        informative: Whether the gain stands out of the noise.
        reason: Why the metric is informative, or why it abstains.
        base: Index of the validation at which the rise starts.
        noise: Standard deviation of the noise of one value.
        gain: Height of the rise.
        arrival: Index of the validation at which 95 % of the gain was made.
        newest: Median of the newest values; NaN while the metric has no value at all.
    """

    informative: bool
    reason: str
    base: int
    noise: float
    gain: float
    arrival: int
    newest: float

    @classmethod
    def of(cls, steps: Array, raw: Array, smooth: Array, window: int) -> MetricRise:
        """Measure the rise of a metric.

        Args:
            steps: `(n,)` increasing steps.
            raw: `(n,)` values, more is better; all NaN if the metric has no value yet.
            smooth: `(n,)` running median of the values.
            window: Number of validations whose median is `newest`.
        """
        if not np.isfinite(raw).all():
            return cls(False, "abstains: no value yet", 0, 0.0, 0.0, 0, float("nan"))
        base, top = draw_up(smooth)
        gain = float(smooth[top] - smooth[base])
        noise = standard_deviation(neighbour_residual(steps, raw)) if len(raw) > 2 else 0.0
        obstacle = _why_not_informative(len(raw), gain, noise)
        return cls(
            informative=not obstacle,
            reason=f"abstains: {obstacle}" if obstacle else "informative",
            base=base,
            noise=noise,
            gain=gain,
            arrival=base + int(np.argmax(smooth[base:] >= smooth[base] + (1 - ARRIVED) * gain)),
            newest=float(np.median(raw[-window:])),
        )

    def report(self, steps: Sequence[int], direction: str) -> dict[str, Any]:
        """Return the metric's entry of `KneeVerdict.per_metric`, in plain values.

        Args:
            steps: The step of each validation.
            direction: `"max"` or `"min"`; it gives `smoothed` the sign of the logged values back.
        """
        known = math.isfinite(self.newest)
        sign = 1 if direction == "max" else -1
        return {
            "informative": self.informative,
            "reason": self.reason,
            "noise": self.noise if known else None,
            "gain": self.gain if known else None,
            "noise_to_gain": self.noise / self.gain if known and self.gain > 0 else None,
            "knee_step": steps[self.arrival] if self.informative else None,
            "smoothed": sign * self.newest if known else None,
        }


def _why_not_informative(count: int, gain: float, noise: float) -> str:
    """Return why a metric abstains, "" if it is informative."""
    if count < 3:
        return "fewer than 3 values"
    if gain <= 0:
        return "it has not risen"
    if gain <= INFORMATIVE_GAIN * noise:
        return f"its gain is {gain / noise:.1f} times its noise, {INFORMATIVE_GAIN:.0f} needed"
    return ""


def turn_up(metrics: Mapping[str, str], values: Mapping[str, float]) -> list[float]:
    """Return values in the order of the metrics, turned so that more is better; NaN if unknown."""
    row = []
    for name, direction in metrics.items():
        value = float(values.get(name, math.nan)) * (1 if direction == "max" else -1)
        row.append(value if math.isfinite(value) else math.nan)
    return row


def measure_metrics(
    metrics: Mapping[str, str],
    steps: Sequence[int],
    rows: Sequence[Sequence[float]],
    time: Array,
    half: int,
) -> tuple[dict[str, dict[str, Any]], list[Array]]:
    """Measure the rise of every metric.

    Args:
        metrics: Direction of each metric, `"max"` or `"min"`.
        steps: Steps of the n validations.
        rows: For each validation the values of the metrics, more is better, NaN if unknown.
        time: `(n,)` increasing times of the validations.
        half: Half width of the smoothing window, in validations.

    Returns:
        The entries of `KneeVerdict.per_metric`; and the `(n,)` curves of the informative metrics,
        each normalised to its own gain.
    """
    curves = fill_gaps(time, np.array(rows, dtype=np.float64).T)
    smooth = running_median(curves, half)
    per_metric = {}
    normalised = []
    for (name, direction), raw, curve in zip(metrics.items(), curves, smooth, strict=True):
        rise = MetricRise.of(time, raw, curve, 2 * half + 1)
        per_metric[name] = rise.report(steps, direction)
        if rise.informative:
            normalised.append((raw - curve[rise.base]) / rise.gain)
    return per_metric, normalised


@dataclasses.dataclass(frozen=True)
class Consensus:
    """The pointwise median of the informative metrics, each normalised to its own gain.

    The median of three metrics ignores one of them that misleads.

    Attributes:
        curve: `(n,)` values, about 0 at the start of the rise and 1 at its top.
        base: Index of the validation at which the rise starts.
        arrival: Index of the validation at which the curve arrives on its plateau.
        top: Height of the plateau.
        gain: Height of the rise.
        newest: Median of the newest values.
    """

    curve: Array
    base: int
    arrival: int
    top: float
    gain: float
    newest: float

    @classmethod
    def of(cls, time: Array, normalised: Sequence[Array], half: int) -> Consensus:
        """Combine the curves of the informative metrics.

        Args:
            time: `(n,)` increasing times.
            normalised: `(n,)` curve of each informative metric.
            half: Half width of the smoothing window, in validations.
        """
        curve = np.median(np.array(normalised), axis=0)
        smooth = running_median(curve, half)
        base = draw_up(smooth)[0]
        arrival, top, gain = plateau_arrival(time[base:], curve[base:], smooth[base:], half)
        newest = float(np.median(curve[-(2 * half + 1) :]))
        return cls(curve, base, base + arrival, top, gain, newest)


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """The validations of a run so far, measured and combined.

    Attributes:
        time: `(n,)` increasing times of the validations, > 0.
        half: Half width of the smoothing window, in validations.
        per_metric: Entries of `KneeVerdict.per_metric`.
        normalised: `(n,)` curve of each informative metric, normalised to its own gain.
        consensus: Their consensus; None if no metric is informative.
    """

    time: Array
    half: int
    per_metric: dict[str, dict[str, Any]]
    normalised: list[Array]
    consensus: Consensus | None

    @classmethod
    def of(
        cls,
        metrics: Mapping[str, str],
        steps: Sequence[int],
        rows: Sequence[Sequence[float]],
    ) -> MeasuredRun:
        """Measure the validations so far; for the arguments see `measure_metrics`."""
        at = np.array(steps, dtype=np.float64)
        interval = float(np.median(np.diff(at))) if len(at) > 1 else 1.0
        # Time starts one interval before the first validation, but never before step 0: a later
        # stage of training continues the count of steps, and its rise starts with the stage.
        time = np.maximum(at - max(0.0, at[0] - interval), 1e-3 * interval)
        half = max(1, int(SMOOTHING * len(time)))
        per_metric, normalised = measure_metrics(metrics, steps, rows, time, half)
        consensus = Consensus.of(time, normalised, half) if normalised else None
        return cls(time, half, per_metric, normalised, consensus)

    @property
    def elapsed(self) -> float:
        """The time of the newest validation."""
        return float(self.time[-1])
