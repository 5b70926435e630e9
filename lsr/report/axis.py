"""One axis of a chart: where a value lies, and at which round values the ticks are."""

import math
from collections.abc import Iterable
from typing import NamedTuple

_DECADES = 1.7
"""Positive values that span more powers of ten than this get a logarithmic axis."""

_LARGEST = 1e150
"""A larger value is drawn at this one, and a value nearer to 0 than its inverse at 0.

Differences and quotients of such values would not be finite.
"""

_FAR = 9999.0
"""Largest coordinate of a point in pixels, in both directions; points beyond are drawn there."""


class Axis(NamedTuple):
    """An axis from pixel `start` to pixel `end`.

    Attributes:
        low: Value at `start`.
        high: Value at `end`, above `low`.
        start: First pixel.
        end: Last pixel.
        is_log: Whether the axis is logarithmic; `low` is positive then.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return the pixel of a value, which may lie outside of the axis."""
        low, high, value = self.low, self.high, _bounded(value)
        if self.is_log:
            low, high, value = (math.log(max(each, 1 / _LARGEST)) for each in (low, high, value))
        pixel = self.start + (self.end - self.start) * (value - low) / (high - low)
        return min(max(pixel, -_FAR), _FAR)

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values on the axis, about `most` of them or fewer."""
        if not self.is_log:
            return _round_values(self.low, self.high, most)
        powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
        every = max(1, math.ceil(len(powers) / most))
        return [10.0**power for power in powers if power % every == 0]


def axis_of(values: Iterable[float], start: float, end: float, may_be_log: bool = False) -> Axis:
    """Return an axis on which all values lie, with a margin.

    Args:
        values: The values, all finite.
        start: First pixel.
        end: Last pixel.
        may_be_log: Whether a logarithmic axis is allowed.
    """
    known = [_bounded(value) for value in values]
    if not any(known):
        known = [0.0, 1.0]  # a metric that is always 0 is rarely one with negative values
    low, high = min(known), max(known)
    if may_be_log and low > 0 and math.log10(high / low) > _DECADES:
        margin = (high / low) ** 0.06
        return Axis(low / margin, high * margin, start, end, is_log=True)
    size = max(abs(low), abs(high))
    margin = 0.06 * (high - low) if high - low > 1e-12 * size else 0.05 * size
    return Axis(low - margin, high + margin, start, end)


def _bounded(value: float) -> float:
    if abs(value) < 1 / _LARGEST:
        return 0.0
    return min(max(value, -_LARGEST), _LARGEST)


def _round_values(low: float, high: float, most: int) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten between two values."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(k * power for k in (1, 2, 5, 10) if (high - low) / (k * power) <= most)
    first = math.ceil(low / step)
    last = math.floor(high / step)
    return [k * step for k in range(first, last + 1)]


def tick_label(value: float) -> str:
    """Return a short label of a tick, such as `0.25`, `1,500`, `20k` or `1e-5`."""
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and letter == "M"):
            return f"{value / size:.4g}{letter}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"
