"""Simulate validation curves of several metrics whose knee is known.

The simulator is the prior of `experiments/knee/train.py` and the source of `lsr knee --benchmark`.
All random numbers come from an explicit generator.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from lsr.knee.signal import Array
from lsr.knee.simulated_families import ENDLESS, SATURATING, Rise
from lsr.knee.simulated_noise import Dice, add_transients, draw_noise, draw_steps, remove_values

Generator = np.random.Generator


@dataclasses.dataclass(frozen=True)
class SimulatedCurve:
    """Validation curves of one run.

    Attributes:
        family: Family of the rise.
        traits: Names of everything that was added to the rise.
        steps: `(n,)` steps of the validations.
        values: `(metrics, n)` values in the units of the metrics, NaN where a value is missing.
        directions: `"max"` or `"min"` for each metric.
        knee: Step of the knee; infinite if there is none.
        tolerance: First and last step that pass as the knee.
        truth: Function of an array of steps that returns the noise-free curves of the informative
            metrics, `(informative, n)`, each with a fast gain of about 1.
    """

    family: str
    traits: tuple[str, ...]
    steps: Array
    values: Array
    directions: tuple[str, ...]
    knee: float
    tolerance: tuple[float, float]
    truth: Callable[[Array], Array]

    @property
    def has_knee(self) -> bool:
        """Whether a step that passes as the knee lies well within the curve."""
        return bool(self.knee <= self.steps[-1])

    def rows(self) -> list[dict[str, float]]:
        """Return the values of each validation by metric name, without the missing ones."""
        return [
            {f"m{i}": float(value) for i, value in enumerate(column) if math.isfinite(value)}
            for column in self.values.T
        ]

    @property
    def metrics(self) -> dict[str, str]:
        """The directions by metric name."""
        return {f"m{i}": direction for i, direction in enumerate(self.directions)}


def simulate(
    generator: Generator, families: Sequence[str] | None = None, knee_share: float = 0.72
) -> SimulatedCurve:
    """Draw one run.

    Args:
        generator: Source of all random numbers.
        families: Families of rises to draw from, None for all.
        knee_share: Probability that the run is drawn with a knee inside.
    """
    saturating = [f for f in SATURATING if families is None or f in families]
    endless = [f for f in ENDLESS if families is None or f in families]
    steps = draw_steps(generator)
    end = float(steps[-1])
    if saturating and (generator.random() < knee_share or not endless):
        family = str(generator.choice(saturating))
        knee = end * float(np.exp(generator.uniform(np.log(0.06), np.log(0.75))))
        knee = max(knee, float(steps[min(3, len(steps) - 1)]))
    elif saturating and (generator.random() < 0.35 or not endless):
        family = str(generator.choice(saturating))
        knee = end * float(np.exp(generator.uniform(np.log(1.1), np.log(8))))
    else:
        family = str(generator.choice(endless))
        knee = math.inf
    return _Run(generator, steps, family, knee, families).draw()


class _Run:
    """The draw of one run, part by part."""

    def __init__(
        self,
        generator: Generator,
        steps: Array,
        family: str,
        knee: float,
        families: Sequence[str] | None,
    ) -> None:
        self.generator = generator
        self.steps = steps
        self.family = family
        self.knee = knee
        self.saturating = [f for f in SATURATING if families is None or f in families]
        self.end = float(steps[-1])
        # Unit of time of the plateau: the knee, or what an observer might take for it.
        self.unit = min(knee, self.end * float(generator.uniform(0.3, 1)))
        self.dice = Dice(generator)

    def draw(self) -> SimulatedCurve:
        generator = self.generator
        count = int(generator.choice([1, 2, 3, 3, 3, 4, 5, 6]))
        stagger = self.dice.log_uniform(0.1, 0.5) if self.dice.chance(0.3, "staggered") else 0.04
        own_shapes = self.dice.chance(0.25, "own shapes")
        plateau = self._plateau()
        start = self._start()
        truths = []
        passing = []
        shared = self._rise(self.family)
        for _ in range(count):
            rise = shared
            if own_shapes and math.isfinite(self.knee) and self.saturating:
                if generator.random() < 0.6:
                    rise = self._rise(str(generator.choice(self.saturating)))
            scale = self.unit_of_rise() * float(np.exp(generator.normal(0, stagger)))
            onset = self._onset * scale
            strength = float(np.exp(generator.normal(0, 0.3)))
            first = max(float(self.steps[0]) - onset, 0) / (scale - onset)
            rise = rise.seen_from(first)
            truths.append(self._truth(rise, scale, onset, strength, plateau, start))
            passing.append([onset + p * (scale - onset) for p in rise.passing])
        misleading = 0
        if count >= 3 and self.dice.chance(0.25, "misleading"):
            misleading = 1 if count < 5 or generator.random() < 0.6 else 2
        informative = count - misleading
        early, knee, late = np.median(np.array(passing[:informative]), axis=0)
        interval = float(np.median(np.diff(self.steps)))
        tolerance = (
            min(early, 0.85 * knee, knee - 1.5 * interval),
            max(late, 1.25 * knee, knee + 1.5 * interval),
        )
        clean = np.array([truth(self.steps) for truth in truths])
        for row in clean[informative:]:
            row[:] = self._mislead()
        values = clean + draw_noise(self.dice, clean.shape, self.steps / self.unit)
        values = add_transients(self.dice, values, self.steps, self.unit)
        values = remove_values(self.dice, values)
        directions = tuple(str(d) for d in generator.choice(["max", "min"], size=count))
        scales = np.exp(generator.uniform(-5, 5, size=count))
        offsets = generator.normal(size=count) * scales * 5
        signs = np.array([1 if d == "max" else -1 for d in directions])
        order = generator.permutation(count)
        return SimulatedCurve(
            family=self.family,
            traits=tuple(self.dice.traits),
            steps=self.steps,
            values=(offsets[:, None] + (signs * scales)[:, None] * values)[order],
            directions=tuple(directions[i] for i in order),
            knee=float(knee),
            tolerance=(float(tolerance[0]), float(tolerance[1])),
            truth=lambda at: np.array([truth(at) for truth in truths[:informative]]),
        )

    def unit_of_rise(self) -> float:
        return self.knee if math.isfinite(self.knee) else self.end

    def _rise(self, family: str) -> Rise:
        self._onset = (
            self.generator.uniform(0.05, 0.5) if self.dice.chance(0.12, "late start") else 0.0
        )
        if family in SATURATING:
            return Rise.saturating(family, self.generator)
        return Rise.endless(family, self.generator)

    def _plateau(self) -> Callable[[Array], Array]:
        """Draw what follows the knee, as a function of steps, in gains."""
        generator = self.generator
        parts: list[Callable[[Array], Array]] = []
        unit = self.unit
        horizon = max(self.end / unit - 1, 0.2)
        if self.dice.chance(0.35, "drift"):
            rate = min(abs(generator.normal(0, 0.04)), generator.uniform(0.02, 0.3) / horizon)
            parts.append(lambda t: rate * np.maximum(t / unit - 1, 0))
        elif self.dice.chance(0.2, "decline"):
            rate = self.dice.log_uniform(0.02, 0.4) / max(horizon, 0.5)
            late = generator.uniform(1, 2.5)
            power = generator.choice([1.0, 1.0, 0.5])
            parts.append(lambda t: -rate * np.maximum(t / unit - late, 0) ** power)
        if math.isfinite(self.knee) and self.dice.chance(0.05, "second rise"):
            late = generator.uniform(2.2, 5)
            height = generator.uniform(0.05, 0.5)
            parts.append(lambda t: -height * np.expm1(-np.maximum(t / unit - late, 0)))
        if self.dice.chance(0.1, "waves"):
            height = self.dice.log_uniform(0.01, 0.08)
            period = self.dice.log_uniform(0.1, 1.5) * unit
            phase = generator.uniform(0, 6)
            grows = generator.random() < 0.5
            parts.append(
                lambda t: (
                    height
                    * np.sin(2 * np.pi * t / period + phase)
                    * (np.clip(t / unit, 0, 1) if grows else 1)
                )
            )
        return lambda t: sum((part(t) for part in parts), np.zeros_like(t))

    def _start(self) -> Callable[[Array], Array]:
        """Draw a dip or a bump during the warm-up, as a function of steps, in gains."""
        if not self.dice.chance(0.15, "warm-up"):
            return np.zeros_like
        height = float(self.generator.uniform(-0.8, 0.5))
        width = self.unit * self.dice.log_uniform(0.02, 0.2)
        if self.generator.random() < 0.5:
            return lambda t: height * np.exp(-t / width)
        return lambda t: height * (t / width) * np.exp(1 - t / width)

    @staticmethod
    def _truth(
        rise: Rise,
        scale: float,
        onset: float,
        strength: float,
        plateau: Callable[[Array], Array],
        start: Callable[[Array], Array],
    ) -> Callable[[Array], Array]:
        return lambda t: (
            rise.curve(np.maximum(t - onset, 0) / (scale - onset))
            + strength * plateau(t)
            + strength * start(t)
        )

    def _mislead(self) -> Array:
        """Draw a metric that has nothing to do with the knee."""
        x = self.steps / self.end
        kind = self.generator.integers(5)
        if kind == 0:
            return np.zeros_like(x)
        if kind == 1:
            return x
        if kind == 2:
            return -np.sqrt(x)
        if kind == 3:
            peak = self.generator.uniform(0.02, 0.3)
            return (x / peak) * np.exp(1 - x / peak)
        walk = np.cumsum(self.generator.normal(size=len(x)))
        return walk / (np.ptp(walk) + 1e-9)
