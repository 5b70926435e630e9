"""Robust measurements on validation curves: noise, smoothing, rise and arrival on the plateau.

Only numpy is used. All statistics are medians: single validations of a training run can be wrong by
many standard deviations (a bad batch, a divergence that recovers), and a mean or a least-squares
fit would follow them. A median ignores them as long as they are fewer than half of its window.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMOOTHING = 0.04
"""Half width of the running median, as a fraction of the number of validations.

It is the least that calms noise of 10 % without blunting a rise that takes a fifth of the run.
"""
ARRIVED = 0.05
"""A curve has arrived on its plateau within this fraction of its gain below the top."""
DEEP = 0.3
"""A fall by more than this fraction of the gain separates an early bump from the plateau."""

_MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution / its median absolute deviation: 1 / 0.6745."""
_SORTED_AT_ONCE = 1_000_000
"""Largest number of values that a running median sorts in one array; more would take its memory."""
_MEDIAN_ERROR = 1.25
"""Standard error of a median / that of a mean, for normal noise: sqrt(pi / 2)."""
_MAXIMUM_BIAS = 0.7
"""Bias of the highest of several noisy medians, in standard errors.

For comparison, the largest of 2 (3) standard normal values is 0.56 (0.85) on average.
"""


def masked_median(values: Array) -> Array:
    """Return the median along the last axis without NaN; NaN where no value is left.

    The result is that of `np.nanmedian`, in a fraction of its time on many short rows.
    """
    # NaN is sorted to the end: the finite values are the first `finite` ones of each row.
    ordered = np.sort(values, axis=-1)
    finite = np.isfinite(ordered).sum(axis=-1)
    lower = np.maximum(finite - 1, 0)[..., None] // 2
    upper = np.minimum(finite // 2, values.shape[-1] - 1)[..., None]
    low = np.take_along_axis(ordered, lower, axis=-1)[..., 0]
    high = np.take_along_axis(ordered, upper, axis=-1)[..., 0]
    return np.where(finite > 0, (low + high) / 2, np.nan)


def fill_gaps(steps: Array, values: Array) -> Array:
    """Interpolate missing values linearly; beyond the ends the nearest value is repeated.

    Args:
        steps: `(n,)` increasing steps.
        values: `(metrics, n)` curves, NaN where a value is missing.

    Returns:
        The curves without NaN. A curve without any value stays NaN.
    """
    filled = values.copy()
    for row in filled:
        known = np.isfinite(row)
        if known.any() and not known.all():
            row[~known] = np.interp(steps[~known], steps[known], row[known])
    return filled


def neighbour_residual(steps: Array, values: Array) -> Array:
    """Return the distance of every interior point from the line through its two neighbours.

    A trend that is straight over three validations cancels, so the noise can be measured while the
    curve still rises, and the validations need not be evenly spaced.

    Args:
        steps: `(n,)` increasing steps.
        values: `(..., n)` curves.

    Returns:
        `(..., n - 2)` distances, scaled so that their standard deviation is that of one value.
    """
    right = (steps[1:-1] - steps[:-2]) / (steps[2:] - steps[:-2])
    distance = values[..., 1:-1] - (1 - right) * values[..., :-2] - right * values[..., 2:]
    # For independent noise of variance s^2: var(distance) = s^2 (1 + right^2 + (1 - right)^2).
    return distance / np.sqrt(1 + right**2 + (1 - right) ** 2)


def running_median(values: Array, half: int) -> Array:
    """Return the running median along the last axis, over up to `half` neighbours on each side.

    Near the ends the window shrinks on both sides alike: a one-sided window would be biased on a
    curve that rises.
    """
    if half < 1:
        return values.copy()
    count = values.shape[-1]
    reach = np.minimum(np.minimum(np.arange(count), np.arange(count)[::-1]), half)
    if values.size * (2 * half + 1) > _SORTED_AT_ONCE:
        first = np.arange(count) - reach
        return np.apply_along_axis(_sliding_median, -1, values, first, first + 2 * reach + 1)
    offset = np.arange(-half, half + 1)
    index = np.clip(np.arange(count)[:, None] + offset, 0, count - 1)
    return masked_median(np.where(np.abs(offset) <= reach[:, None], values[..., index], np.nan))


def _trailing_median(values: Array, window: int) -> Array:
    """Return the median of every value and up to `window - 1` values before it, `(n,)`."""
    if values.size * window > _SORTED_AT_ONCE:
        end = np.arange(len(values)) + 1
        return _sliding_median(values, np.maximum(end - window, 0), end)
    padded = np.concatenate([np.full(window - 1, np.nan), values])
    return masked_median(np.lib.stride_tricks.sliding_window_view(padded, window))


def _sliding_median(values: Array, first: NDArray[np.int64], end: NDArray[np.int64]) -> Array:
    """Return the medians of `values[first[i]:end[i]]`, exactly those of sorting each window.

    Only one window is in memory: a sorted list, which gains and loses few values per step.

    Args:
        values: `(n,)` values, all finite or all NaN.
        first: `(n,)` start of each window, which never decreases.
        end: `(n,)` end of each window, greater than its start, which never decreases.
    """
    if not np.isfinite(values).all():
        return np.full(len(values), np.nan)
    known = values.tolist()
    window: list[float] = []
    start = stop = 0
    medians = np.empty(len(known))
    for i, (wanted_start, wanted_stop) in enumerate(zip(first.tolist(), end.tolist(), strict=True)):
        for value in known[stop:wanted_stop]:
            insort(window, value)
        for value in known[start:wanted_start]:
            del window[bisect_left(window, value)]
        start = wanted_start
        stop = wanted_stop
        medians[i] = (window[(len(window) - 1) // 2] + window[len(window) // 2]) / 2
    return medians


def draw_up(smooth: Array) -> tuple[int, int]:
    """Return the indices of base and top of the largest rise (draw-up) of a smoothed curve.

    The draw-up at a point is its height above the lowest earlier point. An early bump or a warm-up
    dip lies before the base and does not count.
    """
    floor = np.minimum.accumulate(smooth)
    top = int(np.argmax(smooth - floor))
    return int(np.argmin(smooth[: top + 1])), top


def standard_deviation(residual: Array) -> float:
    """Return the standard deviation of a centred sample, from its median absolute deviation (MAD).

    An empty sample has a standard deviation of 0.
    """
    if not residual.size:
        return 0.0
    # np.median takes ten times as long for a few values, and this runs at every validation.
    ordered = np.sort(np.abs(residual), axis=None)
    half = ordered.size // 2
    return float(_MAD_TO_SIGMA * (ordered[half] + ordered[-half - 1]) / 2)


def local_noise(steps: Array, values: Array) -> Array:
    """Return the standard deviation of the noise at every point, `(n,)`.

    The variance is the mean of two: that of the whole curve, and that of a neighbourhood. The noise
    of a training run often grows on the plateau, but a neighbourhood alone has too few points.
    """
    residual = np.abs(neighbour_residual(steps, values))
    nearby = _MAD_TO_SIGMA * running_median(residual, max(3, len(residual) // 8))
    nearby = np.concatenate([nearby[:1], nearby, nearby[-1:]])
    return np.sqrt((standard_deviation(residual) ** 2 + nearby**2) / 2)


def plateau_arrival(
    steps: Array, values: Array, smooth: Array, half: int
) -> tuple[int, float, float]:
    """Find where a curve arrives on its plateau.

    The top is the highest trailing median, less the bias of a maximum of noisy values. The arrival
    is the first smoothed value within `ARRIVED` of the gain below the top. Arrivals before a fall
    by more than `DEEP` of the gain do not count if the curve came back from the fall.

    Args:
        steps: `(n,)` increasing steps.
        values: `(n,)` curve, from the base of its rise on.
        smooth: `(n,)` running median of the curve.
        half: Half width of the smoothing window, in validations.

    Returns:
        The index of the arrival, the height of the top, and the gain from the first value to the
        top.
    """
    window = 2 * half + 1
    noise = standard_deviation(neighbour_residual(steps, values))
    error = _MEDIAN_ERROR * noise / np.sqrt(window)
    top = float(_trailing_median(values, window).max() - _MAXIMUM_BIAS * error)
    gain = top - float(smooth[0])
    arrived = smooth >= top - ARRIVED * gain
    if gain <= 0 or not arrived.any():
        return len(values) - 1, top, gain
    last = int(np.flatnonzero(arrived)[-1])
    deep = np.flatnonzero(smooth[:last] < top - DEEP * gain)
    start = int(deep[-1]) if deep.size else 0
    return start + int(np.argmax(arrived[start:])), top, gain
