"""Describe the validations so far by numbers that no unit and no length of a run can change.

The description is the input of the network of `lsr.knee.network`. Times are fractions of the
elapsed time or logarithms of them, heights are fractions of the gain.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from lsr.knee.consensus import Consensus
from lsr.knee.signal import (
    ARRIVED,
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
WEIGHT_FLOOR = 0.01
"""Added to the noise of a metric that weighs it, so that no metric outweighs all others."""
SLOPE_STARTS = (0.5, 0.7)
"""Slopes are measured from these fractions of the elapsed time on, and from the arrival on."""
NO_BASE = -7.0
"""Logarithm of the time of the base if the rise starts with the run."""
LIMIT = 20.0
"""Larger features are clipped."""

_LINEAR_EDGES = np.linspace(0, 1, LINEAR_CELLS + 1)
_LOG_EDGES = np.geomspace(1 / LOG_REACH, 1, LOG_CELLS + 1)
_COARSE_EDGES = np.linspace(0, 1, COARSE_CELLS + 1)


@dataclasses.dataclass(frozen=True)
class ScaledCurves:
    """The curves of a run, with time scaled to the elapsed time and heights to the gain.

    Attributes:
        time: `(n,)` times; the newest is 1.
        curve: `(n,)` consensus, 0 at the base of its rise and about 1 at its top.
        smooth: `(n,)` running median of the consensus.
        clipped: `(n,)` consensus whose outliers are pulled to the edge of the noise.
        metrics: `(metrics, n)` curves of the informative metrics.
        local: `(n,)` standard deviation of the noise in a neighbourhood of each value.
        noise: Standard deviation of the noise of the whole consensus.
        gain: Height of the rise of the consensus, in gains of the metrics.
    """

    time: Array
    curve: Array
    smooth: Array
    clipped: Array
    metrics: Array
    local: Array
    noise: float
    gain: float

    @classmethod
    def of(
        cls, time: Array, normalised: Sequence[Array], consensus: Consensus, half: int
    ) -> ScaledCurves:
        """Scale curves; for the arguments see `describe`."""
        gain = max(consensus.gain, SMALLEST_GAIN)
        smooth = running_median(consensus.curve, half)
        level = float(smooth[consensus.base])
        x = time / time[-1]
        curve = (consensus.curve - level) / gain
        residual = neighbour_residual(x, curve)
        noise = max(standard_deviation(residual), SMALLEST_NOISE)
        local = 1.4826 * running_median(np.abs(residual), max(3, len(time) // 8))
        local = np.maximum(np.concatenate([local[:1], local, local[-1:]]), noise / 2)
        centre = running_median(curve, max(2, half))
        return cls(
            time=x,
            curve=curve,
            smooth=(smooth - level) / gain,
            clipped=centre + np.clip(curve - centre, -OUTLIER * local, OUTLIER * local),
            metrics=(np.array(normalised) - level) / gain,
            local=local,
            noise=noise,
            gain=gain,
        )


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
    scaled = ScaledCurves.of(time, normalised, consensus, half)
    spread = np.array(
        [standard_deviation(row) for row in neighbour_residual(scaled.time, scaled.metrics)]
    )
    features = np.concatenate(
        [
            _heights(scaled, spread),
            _slopes(scaled, consensus.arrival),
            _times(scaled, consensus),
            _ends(scaled, consensus),
            _noises(scaled, consensus.arrival, float(spread.min())),
            _arrivals(scaled, half),
            [float(scaled.smooth.max()), float(scaled.clipped.min())],
            _spacing(scaled.time),
        ]
    )
    return np.clip(np.nan_to_num(features), -LIMIT, LIMIT)


def cell_means(time: Array, values: Array, edges: Array) -> tuple[Array, Array]:
    """Return the mean of curves in cells of time, and the number of validations in each.

    A cell with fewer than two validations gets the interpolated value at its centre.

    Args:
        time: `(n,)` increasing times.
        values: `(metrics, n)` curves.
        edges: `(cells + 1,)` edges of the cells; a validation on an edge belongs to the cell
            before it.

    Returns:
        Means, `(metrics, cells)`, and numbers of validations, `(cells,)`.
    """
    # The factor keeps a validation that lies on an edge in its cell despite rounding errors.
    bounds = np.searchsorted(time, edges * (1 + 1e-9), side="right")
    count = np.diff(bounds)
    total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    sums = total[:, bounds[1:]] - total[:, bounds[:-1]]
    centre = (edges[1:] + edges[:-1]) / 2
    between = np.array([np.interp(centre, time, row) for row in values])
    return np.where(count > 1, sums / np.maximum(count, 1), between), count


def _heights(scaled: ScaledCurves, spread: Array) -> Array:
    """Return consensus, weighted mean, quartiles of the metrics and noise, cell by cell."""
    x = scaled.time
    weight = 1 / (spread**2 + WEIGHT_FLOOR**2)
    both = np.array([scaled.clipped, weight @ scaled.metrics / weight.sum()])
    linear, _ = cell_means(x, both, _LINEAR_EDGES)
    logarithmic, filled = cell_means(x, both[:1], _LOG_EDGES)
    coarse, _ = cell_means(x, scaled.metrics, _COARSE_EDGES)
    noises, _ = cell_means(x, np.log(scaled.local)[None], _COARSE_EDGES)
    quartiles = np.quantile(coarse, (0.25, 0.75), axis=0)
    parts = (linear, logarithmic, np.log1p(filled), quartiles, noises)
    return np.concatenate([part.ravel() for part in parts])


def _slopes(scaled: ScaledCurves, arrival: int) -> list[float]:
    """Return slopes over the logarithm of time, their errors, and slopes in units of the error."""
    slopes: list[float] = []
    last_three = scaled.time[max(0, len(scaled.time) - 3)]
    for start in (*SLOPE_STARTS, scaled.time[arrival]):
        part = scaled.time >= min(start, last_three)
        slope, error = _slope(np.log(scaled.time[part]), scaled.clipped[part])
        error *= scaled.noise
        slopes += [slope, math.log(error + 1e-4), slope / (error + 1e-3) / 10]
    return slopes


def _slope(x: Array, y: Array) -> tuple[float, float]:
    """Return the least-squares slope and its standard error for noise of standard deviation 1."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    if len(x) < 2 or spread <= 0:
        return 0.0, 10.0
    return float(centred @ y) / spread, 1 / math.sqrt(spread)


def _times(scaled: ScaledCurves, consensus: Consensus) -> list[float]:
    """Return the numbers of validations and metrics, and the times of base and arrival."""
    count = len(scaled.time)
    arrived = scaled.time[consensus.arrival]
    base = scaled.time[consensus.base]
    return [
        math.log(count),
        math.log(len(scaled.metrics)),
        math.log(arrived),
        math.log(max(base, 1e-3)) if consensus.base else NO_BASE,
        math.log1p(count - 1 - consensus.arrival),
        math.log(arrived / scaled.time[0]),
    ]


def _ends(scaled: ScaledCurves, consensus: Consensus) -> list[float]:
    """Return how far the newest values lie below the top, and the newest values."""
    newest = scaled.clipped[-3:]
    fall = (consensus.top - float(np.median(consensus.curve[-3:]))) / scaled.gain
    return [fall, float(newest[-1]), float(newest.min())]


def _noises(scaled: ScaledCurves, arrival: int, least: float) -> list[float]:
    """Return logarithms of the gain and of noises: at several strides, after the arrival."""
    after = scaled.curve[arrival:]
    noises = [
        *[_strided_noise(scaled.curve, stride) for stride in (2, 4)],
        *[_strided_noise(after, stride) for stride in (1, 3)],
        standard_deviation(after - np.median(after)),
        least,
    ]
    logarithms = [math.log(max(noise, SMALLEST_NOISE)) for noise in noises]
    return [math.log(scaled.noise), math.log(scaled.gain), *logarithms]


def _strided_noise(values: Array, stride: int) -> float:
    """Return the noise of the second differences over a stride; autocorrelation makes it grow."""
    if len(values) < 2 * stride + 3:
        stride = 1
    if len(values) < 3:
        return 0.0
    bent = values[stride:-stride] - (values[2 * stride :] + values[: -2 * stride]) / 2
    # For independent noise of variance s^2 the variance of `bent` is 1.5 s^2.
    return standard_deviation(bent) / math.sqrt(1.5)


def _arrivals(scaled: ScaledCurves, half: int) -> Array:
    """Return the logarithms of the first, the middle and the last arrival of the metrics."""
    smooth = running_median(scaled.metrics, half)
    arrived = [
        scaled.time[int(np.argmax(row >= (1 - ARRIVED) * _robust_top(raw)))]
        for row, raw in zip(smooth, scaled.metrics, strict=True)
    ]
    ordered = np.sort(arrived)
    return np.log(ordered[[0, len(ordered) // 2, -1]])


def _robust_top(row: Array) -> float:
    """Return the mean of the best tenth of a curve without its best value."""
    best = np.sort(row)[-max(2, len(row) // 10) :]
    return float(best[:-1].mean())


def _spacing(x: Array) -> list[float]:
    """Return the middle and the largest distance of validations, in even distances."""
    gaps = np.diff(x) * len(x)
    return [float(np.median(gaps)), float(gaps.max()) / 10]
