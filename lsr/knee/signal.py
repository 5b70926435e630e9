"""From raw validation curves to one consensus curve: blocks, robust noise, draw-up, arrival on the plateau. Pure numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMOOTHING = 0.04
INFORMATIVE_GAIN = 4.0
ARRIVED = 0.05
DEEP = 0.3


def block_medians(steps: Array, values: Array, max_blocks: int) -> tuple[Array, Array]:
    """Median of every metric over at most `max_blocks` runs of neighbouring validations."""
    count = len(steps)
    blocks = min(count, max_blocks)
    start = np.arange(blocks + 1) * count // blocks
    width = int(np.diff(start).max())
    index = start[:-1, None] + np.arange(width)
    outside = index >= start[1:, None]
    index = np.minimum(index, count - 1)
    block_steps = np.where(outside, 0.0, steps[index]).sum(axis=1) / np.diff(start)
    return block_steps, masked_median(np.where(outside, np.nan, values[:, index]))


def masked_median(values: Array) -> Array:
    """Median along the last axis that ignores NaN (NaN where nothing is left)."""
    ordered = np.sort(values, axis=-1)
    finite = np.isfinite(ordered).sum(axis=-1)
    low = np.take_along_axis(ordered, np.maximum(finite - 1, 0)[..., None] // 2, axis=-1)[..., 0]
    high = np.take_along_axis(
        ordered, np.minimum(finite // 2, values.shape[-1] - 1)[..., None], axis=-1
    )[..., 0]
    return np.where(finite > 0, (low + high) / 2, np.nan)


def fill_gaps(steps: Array, values: Array) -> Array:
    """Linear interpolation of missing blocks, constant beyond the ends; a row without any value stays NaN."""
    filled = values.copy()
    for row in filled:
        known = np.isfinite(row)
        if known.any() and not known.all():
            row[~known] = np.interp(steps[~known], steps[known], row[known])
    return filled


def neighbour_residual(steps: Array, values: Array) -> Array:
    """Distance of every interior point from the line through its two neighbours, scaled to the point's own standard deviation."""
    right = (steps[1:-1] - steps[:-2]) / (steps[2:] - steps[:-2])
    distance = values[..., 1:-1] - (1 - right) * values[..., :-2] - right * values[..., 2:]
    return distance / np.sqrt(1 + right**2 + (1 - right) ** 2)


def running_median(values: Array, half: int) -> Array:
    """Symmetric running median along the last axis; the window shrinks symmetrically towards the ends."""
    if half < 1:
        return values.copy()
    count = values.shape[-1]
    reach = np.minimum(np.minimum(np.arange(count), np.arange(count)[::-1]), half)
    offset = np.arange(-half, half + 1)
    index = np.clip(np.arange(count)[:, None] + offset, 0, count - 1)
    return masked_median(np.where(np.abs(offset) <= reach[:, None], values[..., index], np.nan))


def draw_up(smooth: Array) -> tuple[int, int]:
    """Indices of base and top of the largest rise of a smoothed curve (an early bump or warm-up dip lies before the base)."""
    floor = np.minimum.accumulate(smooth)
    top = int(np.argmax(smooth - floor))
    return int(np.argmin(smooth[: top + 1])), top


def standard_deviation(residual: Array) -> float:
    """Robust standard deviation of a centred sample: 1.4826 times the median absolute value; 0 for an empty one."""
    return float(1.4826 * np.median(np.abs(residual))) if residual.size else 0.0


def local_noise(steps: Array, values: Array) -> Array:
    """Noise at every point: half the whole curve's variance and half the neighbourhood's, because the plateau's variance grows."""
    residual = np.abs(neighbour_residual(steps, values))
    nearby = 1.4826 * running_median(residual, max(3, len(residual) // 8))
    nearby = np.concatenate([nearby[:1], nearby, nearby[-1:]])
    return np.sqrt((standard_deviation(residual) ** 2 + nearby**2) / 2)


def plateau_arrival(
    steps: Array, values: Array, smooth: Array, half: int
) -> tuple[int, float, float]:
    """Where a rise has arrived on its plateau.

    Args:
        steps: `(n,)` increasing steps.
        values: `(n,)` the curve from the base of its rise on.
        smooth: `(n,)` its running median.
        half: half width of the smoothing window.

    Returns:
        The index of the first smoothed value within `ARRIVED` of the gain from the top, after the last fall by more than `DEEP` of the gain
        that the curve came back from; the top; the gain. The top is the highest trailing median less 0.7 of its standard error, the bias of
        a maximum of noisy values.
    """
    window = 2 * half + 1
    error = 1.25 * standard_deviation(neighbour_residual(steps, values)) / np.sqrt(window)
    padded = np.concatenate([np.full(window - 1, np.nan), values])
    top = float(
        masked_median(np.lib.stride_tricks.sliding_window_view(padded, window)).max() - 0.7 * error
    )
    gain = top - float(smooth[0])
    arrived = smooth >= top - ARRIVED * gain
    if gain <= 0 or not arrived.any():
        return len(values) - 1, top, gain
    last = int(np.flatnonzero(arrived)[-1])
    deep = np.flatnonzero(smooth[:last] < top - DEEP * gain)
    start = int(deep[-1]) if deep.size else 0
    return start + int(np.argmax(arrived[start:])), top, gain


@dataclasses.dataclass(frozen=True)
class MetricRise:
    """One metric's largest draw-up, in its own units.

    Attributes:
        informative: whether the gain stands out of the noise.
        reason: why it is informative or abstains.
        base: index of the validation where the rise starts.
        noise: standard deviation of one value.
        gain: height of the rise.
        arrival: index at which 95 % of it was made.
        newest: trailing median; NaN while the metric has no value at all.
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
        """Measure a metric: `(n,)` steps, values and smoothed values, and the length of the trailing median."""
        if not np.isfinite(raw).all():
            return cls(False, "abstains: no value yet", 0, 0.0, 0.0, 0, float("nan"))
        base, top = draw_up(smooth)
        gain = float(smooth[top] - smooth[base])
        noise = standard_deviation(neighbour_residual(steps, raw)) if len(raw) > 2 else 0.0
        arrival = base + int(np.argmax(smooth[base:] >= smooth[base] + (1 - ARRIVED) * gain))
        if len(raw) < 3:
            reason = "abstains: fewer than 3 values"
        elif gain <= 0:
            reason = "abstains: has not risen"
        elif gain <= INFORMATIVE_GAIN * noise:
            reason = f"abstains: its gain is {gain / noise:.1f} times its noise, more than {INFORMATIVE_GAIN:.0f} needed"
        else:
            reason = "informative"
        return cls(
            reason == "informative",
            reason,
            base,
            noise,
            gain,
            arrival,
            float(np.median(raw[-window:])),
        )
