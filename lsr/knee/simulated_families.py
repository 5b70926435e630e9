"""The families of simulated rises by name, and what a run needs to know of a rise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from lsr.knee import simulated_rises as rises
from lsr.knee import simulated_tails as tails
from lsr.knee.simulated_rises import Curve

Draw = Callable[[np.random.Generator], Curve]

_GRID = np.geomspace(1e-4, 1e6, 3000)
LEVELS = (0.85, 0.95, 0.99)
"""Fractions of the gain at the earliest passing step, at the knee and at the last passing step."""
LEAST_SEEN = 0.05
"""Smallest share of a rise that is taken for what validations see of it."""
HALF = 0.5
"""If validations see less than this share of a rise, the rest is scaled to a gain of 1."""


def _by_name(*functions: Draw) -> dict[str, Draw]:
    return {function.__name__.replace("_", " "): function for function in functions}


_LONG_TAILED = _by_name(
    tails.two_speeds, tails.long_tail, tails.steep_logarithm, tails.decayed_rate
)
SATURATING = (
    _by_name(
        rises.exponential,
        rises.stretched,
        rises.power_law,
        rises.double_exponential,
        rises.logistic,
        rises.richards,
        rises.gompertz,
        rises.hill,
        rises.hyperbolic,
        rises.corner,
        rises.capped_logarithm,
        rises.staged,
        rises.random_monotone,
    )
    | _LONG_TAILED
)
"""Families with a knee."""

_CREEPING = _by_name(tails.creeping_tail)
ENDLESS = (
    _by_name(rises.power, rises.logarithm, rises.shallow_power_law, rises.second_stage) | _CREEPING
)
"""Families without a knee; time 1 is the end of the run."""

LONG_TAILED = (*_LONG_TAILED, *_CREEPING)
"""Families of `lsr.knee.simulated_tails`."""
PLAIN = tuple(family for family in (*SATURATING, *ENDLESS) if family not in LONG_TAILED)
"""All other families."""


@dataclasses.dataclass(frozen=True)
class Rise:
    """A noise-free fast rise.

    Attributes:
        curve: The function of time.
        passing: Times at which the fractions `LEVELS` of the gain are made, in knee times; infinite
            if the rise has no end.
    """

    curve: Curve
    passing: tuple[float, float, float]

    @classmethod
    def saturating(cls, family: str, generator: np.random.Generator) -> Rise:
        """Draw a rise with its knee at time 1."""
        raw = SATURATING[family](generator)
        early, knee, late = np.interp(LEVELS, np.maximum.accumulate(raw(_GRID)), _GRID)
        return cls(lambda t: raw(t * knee), (early / knee, 1.0, late / knee))

    def seen_from(self, first: float) -> Rise:
        """Return the rise as validations from time `first` on see it.

        Its levels are shares of the gain from `first` on. If this is less than `HALF` of the rise,
        it is scaled to a gain of 1 at the plateau, or at time 1 if there is none: otherwise the
        noise, which is drawn in gains, would hide all that can be seen.
        """
        curve = self.curve
        start, end = (float(height) for height in curve(np.array([first, 1.0])))
        passing = self.passing
        top = end
        if not math.isinf(passing[1]):
            top = 1.0
            levels = start + (1 - start) * np.array(LEVELS)
            times = np.interp(levels, np.maximum.accumulate(curve(_GRID)), _GRID)
            passing = (float(times[0]), float(times[1]), float(times[2]))
        seen = max(top - start, LEAST_SEEN)
        if seen >= HALF * top:
            return Rise(curve, passing)
        return Rise(lambda t: (curve(t) - start) / seen, passing)

    @classmethod
    def endless(cls, family: str, generator: np.random.Generator) -> Rise:
        """Draw a rise that has no knee by time 1."""
        return cls(ENDLESS[family](generator), (math.inf, math.inf, math.inf))
