"""Say in one line why the validations so far cannot show a knee.

There are too few, every metric is constant, a metric has stopped, or the steps repeat.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsr.knee.signal import Array

MIN_VALIDATIONS = 7
"""Fewest validations of a judgement: a rise and a plateau cannot be judged from fewer."""
GONE_AFTER = 5
"""A metric has stopped if at least this many of the newest validations lack it."""
GONE_GAPS = 2
"""It has also been away for this many times its longest earlier absence: some metrics are rare."""


def describe_repeat(step: int, newest: int) -> str:
    """Return why no knee is confirmed after a step that repeats or goes back."""
    how = "twice" if step == newest else f"after step {newest:,}"
    return f"step {step:,} came {how}: the steps of one run increase, so nothing is confirmed"


def find_fault(names: Sequence[str], steps: Sequence[int], rows: Sequence[Sequence[float]]) -> str:
    """Return why no knee can be confirmed, "" if nothing is wrong.

    Args:
        names: Names of the metrics.
        steps: Steps of the n validations with any finite metric, n >= 1.
        rows: Their values, NaN where unknown.
    """
    values = np.array(rows, dtype=np.float64)
    known = np.isfinite(values)
    if len(values) < MIN_VALIDATIONS:
        there = f"only {len(values)} validation{'s' if len(values) > 1 else ''} so far"
        return f"{there}: a knee needs at least {MIN_VALIDATIONS}"
    if all(_is_constant(column[there]) for column, there in zip(values.T, known.T, strict=True)):
        return f"no metric has changed in {len(values)} validations: there is no rise, and no knee"
    for name, there in zip(names, known.T, strict=True):
        index = np.flatnonzero(there)
        if index.size and _has_stopped(index, len(values)):
            return (
                f"{name} has no finite value since step {steps[index[-1]]:,}: nothing is confirmed "
                "until it comes back; if it has stopped for good, watch the other metrics only"
            )
    return ""


def _is_constant(column: Array) -> bool:
    return not column.size or float(np.ptp(column)) == 0


def _has_stopped(index: NDArray[np.intp], count: int) -> bool:
    """Return whether a metric that has values at some of `count` validations has stopped."""
    away = count - 1 - int(index[-1])
    longest = int(np.diff(index).max()) - 1 if len(index) > 1 else 0
    return away >= max(GONE_AFTER, GONE_GAPS * longest)
