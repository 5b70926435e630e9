"""Put the estimate of the network into words and units: interval, gain still to come, creeping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lsr.knee.confirmation import LIKELY
from lsr.knee.network import FUTURE, KneeEstimate
from lsr.knee.verdict import in_percent

INTERVAL = (0.12, 0.88)
"""Quantiles that enclose 80 % of the knees of runs that the network has not learnt.

Its posterior is a little too wide: the quantiles of 10 and 90 % enclose more than 80 % of the
knees (`docs/knee-scores.md`).
"""
CREEPING_GAIN = 0.03
"""A curve creeps if, with a probability of 90 %, it gains more than this by twice the steps."""
STEEP_GAIN = 0.5
"""A curve that probably gains more than this by twice the steps rises fast; it does not creep."""
CREEPING_KNEE = 0.5
"""A curve creeps only if its knee has been passed with less than this probability."""
MIN_VALIDATIONS = 12
"""Fewest validations of a statement about creeping."""


def knee_interval(
    estimate: KneeEstimate, elapsed: float, offset: float
) -> tuple[int | None, int | None]:
    """Return the steps between which the knee lies with a probability of 80 %.

    Args:
        estimate: Estimate of the network.
        elapsed: Elapsed time of the run, in steps.
        offset: Step at which time starts.
    """
    low, high = (estimate.knee_quantile(level) for level in INTERVAL)
    return (
        None if low is None else round(offset + low * elapsed),
        None if high is None else round(offset + high * elapsed),
    )


def remaining_gains(
    estimate: KneeEstimate, gain: float, elapsed: float, offset: float
) -> list[dict[str, float]]:
    """Return the gain of one metric that is still to come, for each time of `FUTURE`.

    Args:
        estimate: Estimate of the network.
        gain: Gain of the metric so far, in its unit.
        elapsed: Elapsed time of the run, in steps.
        offset: Step at which time starts.
    """
    return [
        {
            "step": round(offset + factor * elapsed),
            "gain": gain * float(median),
            "low": gain * float(low),
            "high": gain * float(high),
        }
        for factor, (low, median, high) in zip(FUTURE, estimate.remaining, strict=True)
    ]


def describe_creeping(
    estimate: KneeEstimate, probability: float, count: int, elapsed: float, offset: float
) -> str:
    """Return one line about a curve that creeps, "" for any other curve.

    A curve creeps if it surely goes on rising, but slowly: a logarithm gains at most a fraction of
    its height when time doubles. A curve with a likely knee does not creep.

    Args:
        estimate: Estimate of the network.
        probability: Probability that the candidate passes as the knee.
        count: Number of validations.
        elapsed: Elapsed time of the run, in steps.
        offset: Step at which time starts.
    """
    low, median, _ = (float(quantile) for quantile in estimate.remaining[-1])
    passed = float(estimate.before(1, 1.0))
    if count < MIN_VALIDATIONS or low < CREEPING_GAIN or median > STEEP_GAIN:
        return ""
    if passed > CREEPING_KNEE or probability > LIKELY:
        return ""
    share = median / (1 + median)
    step = round(offset + FUTURE[-1] * elapsed)
    return f"no plateau: {in_percent(share)} of the gain still to come by step {step:,}"


def forecast(
    estimate: KneeEstimate,
    probability: float,
    per_metric: Mapping[str, Mapping[str, Any]],
    count: int,
    elapsed: float,
    offset: float,
) -> dict[str, Any]:
    """Return the fields `interval`, `remaining` and `creeping` of a verdict.

    Args:
        estimate: Estimate of the network.
        probability: Probability that the candidate passes as the knee.
        per_metric: Entries of `KneeVerdict.per_metric`.
        count: Number of validations.
        elapsed: Elapsed time of the run, in steps.
        offset: Step at which time starts.
    """
    return {
        "interval": knee_interval(estimate, elapsed, offset),
        "remaining": {
            name: remaining_gains(estimate, record["gain"], elapsed, offset)
            for name, record in per_metric.items()
            if record["informative"] and math.isfinite(record["gain"])
        },
        "creeping": describe_creeping(estimate, probability, count, elapsed, offset),
    }
