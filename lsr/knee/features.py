"""Describe the validations so far by numbers that no unit and no length of a run can change.

The description is the input of the network of `lsr.knee.network`. Times are fractions of the elapsed
time or logarithms of them, heights are fractions of the gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lsr.knee.consensus import Consensus
from lsr.knee.signal import (
    Array,
    neighbour_residual,
    running_median,
    standard_deviation,
)

LINEAR_CELLS = 32
LOG_CELLS = 24
LOG_REACH = 32.0
"""The logarithmic cells reach from the newest step back to 1/32 of it."""
COARSE_CELLS = 12
OUTLIER = 3.0
"""Values further than this many standard deviations from the running median are clipped."""
SMALLEST_NOISE = 1e-3
"""Smaller noise, as a fraction of the gain, is taken for this."""

SMALLEST_GAIN = 0.05
"""A smaller gain of the consensus, in gains of the metrics, is taken for this."""
LIMIT = 20.0
"""Larger features are clipped."""

_LINEAR_EDGES = np.linspace(0, 1, LINEAR_CELLS + 1)
_LOG_EDGES = np.geomspace(1 / LOG_REACH, 1, LOG_CELLS + 1)
_COARSE_EDGES = np.linspace(0, 1, COARSE_CELLS + 1)


def cell_means(time: Array, values: Array, edges: Array) -> tuple[Array, Array]:
    """Return the mean of curves in cells of time, and the number of validations in each.

    A cell with fewer than two validations gets the interpolated value at its centre.

    Args:
        time: `(n,)` increasing times.
        values: `(metrics, n)` curves.
        edges: `(cells + 1,)` edges of the cells; a validation on an edge belongs to the cell before.

    Returns:
        Means, `(metrics, cells)`, and numbers of validations, `(cells,)`.
    """
    bounds = np.searchsorted(time, edges * (1 + 1e-9), side="right")
    count = np.diff(bounds)
    total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    sums = total[:, bounds[1:]] - total[:, bounds[:-1]]
    centre = (edges[1:] + edges[:-1]) / 2
    between = np.array([np.interp(centre, time, row) for row in values])
    return np.where(count > 1, sums / np.maximum(count, 1), between), count


def _strided_noise(values: Array, stride: int) -> float:
    """Return the noise of the second differences over a stride; autocorrelation makes it grow."""
    if len(values) < 2 * stride + 3:
        stride = 1
    if len(values) < 3:
        return 0.0
    bent = values[stride:-stride] - (values[2 * stride :] + values[: -2 * stride]) / 2
    return standard_deviation(bent) / math.sqrt(1.5)


def _slope(x: Array, y: Array) -> tuple[float, float]:
    """Return the least-squares slope and its standard error for noise of standard deviation 1."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    if len(x) < 2 or spread <= 0:
        return 0.0, 10.0
    return float(centred @ y) / spread, 1 / math.sqrt(spread)


def describe(time: Array, normalised: Sequence[Array], consensus: Consensus, half: int) -> Array:
    """Return the description of the validations so far.

    Args:
        time: `(n,)` increasing times of the validations, > 0.
        normalised: `(n,)` curve of each informative metric, normalised to its own gain.
        consensus: Their consensus.
        half: Half width of the smoothing window, in validations.

    Returns:
        `(features,)` finite numbers of order 1.
    """
    count = len(time)
    x = time / time[-1]
    gain = max(consensus.gain, SMALLEST_GAIN)
    smooth = running_median(consensus.curve, half)
    level = float(smooth[consensus.base])
    curve = (consensus.curve - level) / gain
    smooth = (smooth - level) / gain
    residual = neighbour_residual(x, curve)
    noise = max(standard_deviation(residual), SMALLEST_NOISE)
    centre = running_median(curve, max(2, half))
    nearby = 1.4826 * running_median(np.abs(residual), max(3, count // 8))
    nearby = np.maximum(np.concatenate([nearby[:1], nearby, nearby[-1:]]), noise / 2)
    clipped = centre + np.clip(curve - centre, -OUTLIER * nearby, OUTLIER * nearby)
    metrics = (np.array(normalised) - level) / gain
    spread = np.array([standard_deviation(row) for row in neighbour_residual(x, metrics)])
    weight = 1 / (spread**2 + 0.01**2)
    stack = np.array([clipped, weight @ metrics / weight.sum()])
    linear, _ = cell_means(x, stack, _LINEAR_EDGES)
    logarithmic, filled = cell_means(x, stack[:1], _LOG_EDGES)
    coarse, _ = cell_means(x, metrics, _COARSE_EDGES)
    noises, _ = cell_means(x, np.log(nearby)[None], _COARSE_EDGES)
    arrival = consensus.arrival
    after = curve[arrival:]
    slopes: list[float] = []
    for start in (0.5, 0.7, x[arrival]):
        part = x >= min(start, x[max(0, count - 3)])
        slope, error = _slope(np.log(x[part]), clipped[part])
        slopes += [slope, math.log(error * noise + 1e-4), slope / (error * noise + 1e-3) / 10]
    arrivals = np.sort(
        [x[int(np.argmax(running_median(row, half) >= 0.95 * row_top(row)))] for row in metrics]
    )
    newest = clipped[-3:]
    scalars = [
        math.log(count),
        math.log(len(metrics)),
        math.log(x[arrival]),
        math.log(max(x[consensus.base], 1e-3)) if consensus.base else -7.0,
        math.log1p(count - 1 - arrival),
        math.log(x[arrival] / x[0]),
        (consensus.top - float(np.median(consensus.curve[-3:]))) / gain,
        float(newest[-1]),
        float(newest.min()),
        math.log(noise),
        math.log(max(gain, 1e-3)),
        *[math.log(max(_strided_noise(curve, s), SMALLEST_NOISE)) for s in (2, 4)],
        *[math.log(max(_strided_noise(after, s), SMALLEST_NOISE)) for s in (1, 3)],
        math.log(max(standard_deviation(after - np.median(after)), SMALLEST_NOISE)),
        math.log(max(float(spread.min()), SMALLEST_NOISE)),
        *np.log(arrivals[[0, len(arrivals) // 2, -1]]),
        float(smooth.max()),
        float(clipped.min()),
        float(np.median(np.diff(x)) * count),
        float(np.diff(x).max() * count) / 10,
    ]
    low, high = np.quantile(coarse, (0.25, 0.75), axis=0)
    features = np.concatenate(
        [
            linear.ravel(),
            logarithmic.ravel(),
            np.log1p(filled),
            low,
            high,
            noises.ravel(),
            slopes,
            scalars,
        ]
    )
    return np.clip(np.nan_to_num(features), -LIMIT, LIMIT)


def row_top(row: Array) -> float:
    """Return a robust top of a curve: the mean of its best tenth, without the best value."""
    best = np.sort(row)[-max(2, len(row) // 10) :]
    return float(best[:-1].mean())
