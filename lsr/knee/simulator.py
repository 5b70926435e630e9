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
from lsr.knee.simulated_rises import ENDLESS, SATURATING, Rise

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
    steps = _draw_steps(generator)
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


def _draw_steps(generator: Generator) -> Array:
    """Draw the steps of the validations: 12 to 500, even, uneven, with gaps, or ever sparser."""
    count = round(float(np.exp(generator.uniform(np.log(12), np.log(500)))))
    if generator.random() < 0.5:
        count = int(generator.integers(28, 125))
    kind = generator.random()
    gaps = np.ones(count)
    if kind < 0.15:
        gaps = generator.gamma(generator.uniform(0.7, 4), size=count) + 0.05
    elif kind < 0.22:
        gaps = np.exp(np.linspace(0, generator.uniform(0.5, 2.5), count))
    elif kind < 0.34:
        kept = np.ones(count, dtype=bool)
        for _ in range(int(generator.integers(1, 4))):
            length = max(1, int(count * generator.uniform(0.03, 0.15)))
            start = int(generator.integers(1, max(2, count - length)))
            kept[start : start + length] = False
        if kept.sum() >= 12:
            position = np.arange(1, count + 1)[kept]
            gaps = np.diff(position, prepend=0).astype(np.float64)
    elif kind < 0.42:
        kept = generator.random(count) > generator.uniform(0.1, 0.5)
        if kept.sum() >= 12:
            gaps = np.diff(np.arange(1, count + 1)[kept], prepend=0).astype(np.float64)
    interval = float(np.exp(generator.uniform(np.log(10), np.log(5000))))
    steps = np.cumsum(gaps) * interval
    if generator.random() < 0.05:
        steps -= steps[0]  # a validation before training
    return np.unique(np.maximum(np.round(steps), 0.0))


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
        self.traits: list[str] = []

    def chance(self, probability: float, trait: str) -> bool:
        """Return whether a trait is drawn, and note it."""
        drawn = bool(self.generator.random() < probability)
        if drawn:
            self.traits.append(trait)
        return drawn

    def log_uniform(self, low: float, high: float) -> float:
        return float(np.exp(self.generator.uniform(np.log(low), np.log(high))))

    def draw(self) -> SimulatedCurve:
        generator = self.generator
        count = int(generator.choice([1, 2, 3, 3, 3, 4, 5, 6]))
        stagger = self.log_uniform(0.1, 0.5) if self.chance(0.3, "staggered") else 0.04
        own_shapes = self.chance(0.25, "own shapes")
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
            truths.append(self._truth(rise, scale, onset, strength, plateau, start))
            passing.append([onset + p * (scale - onset) for p in rise.passing])
        misleading = 0
        if count >= 3 and self.chance(0.25, "misleading"):
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
        values = clean + self._noise(clean.shape)
        values = self._transients(values)
        values = self._missing(values)
        directions = tuple(str(d) for d in generator.choice(["max", "min"], size=count))
        scales = np.exp(generator.uniform(-5, 5, size=count))
        offsets = generator.normal(size=count) * scales * 5
        signs = np.array([1 if d == "max" else -1 for d in directions])
        order = generator.permutation(count)
        return SimulatedCurve(
            family=self.family,
            traits=tuple(self.traits),
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
        self._onset = self.generator.uniform(0.05, 0.5) if self.chance(0.12, "late start") else 0.0
        if family in SATURATING:
            return Rise.saturating(family, self.generator)
        return Rise.endless(family, self.generator)

    def _plateau(self) -> Callable[[Array], Array]:
        """Draw what follows the knee, as a function of steps, in gains."""
        generator = self.generator
        parts: list[Callable[[Array], Array]] = []
        unit = self.unit
        horizon = max(self.end / unit - 1, 0.2)
        if self.chance(0.35, "drift"):
            rate = min(abs(generator.normal(0, 0.04)), generator.uniform(0.02, 0.3) / horizon)
            parts.append(lambda t: rate * np.maximum(t / unit - 1, 0))
        elif self.chance(0.2, "decline"):
            rate = self.log_uniform(0.02, 0.4) / max(horizon, 0.5)
            late = generator.uniform(1, 2.5)
            power = generator.choice([1.0, 1.0, 0.5])
            parts.append(lambda t: -rate * np.maximum(t / unit - late, 0) ** power)
        if math.isfinite(self.knee) and self.chance(0.05, "second rise"):
            late = generator.uniform(2.2, 5)
            height = generator.uniform(0.05, 0.5)
            parts.append(lambda t: -height * np.expm1(-np.maximum(t / unit - late, 0)))
        if self.chance(0.1, "waves"):
            height = self.log_uniform(0.01, 0.08)
            period = self.log_uniform(0.1, 1.5) * unit
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
        if not self.chance(0.15, "warm-up"):
            return np.zeros_like
        height = float(self.generator.uniform(-0.8, 0.5))
        width = self.unit * self.log_uniform(0.02, 0.2)
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

    def _noise(self, shape: tuple[int, int]) -> Array:
        """Draw the noise of all metrics, in gains."""
        generator = self.generator
        metrics, count = shape
        level = self.log_uniform(0.004, 0.15)
        if generator.random() < 0.3:
            level = self.log_uniform(0.01, 0.04)
        noise = self._standard_noise(shape)
        if self.chance(0.25, "correlated metrics"):
            share = generator.uniform(0.2, 0.9)
            common = self._standard_noise((1, count))
            noise = np.sqrt(1 - share) * noise + np.sqrt(share) * common
        spread = np.exp(generator.normal(0, 0.35, size=(metrics, 1)))
        noise *= level * spread
        if self.chance(0.3, "growing noise"):
            factor = self.log_uniform(1.3, 5)
            when = np.clip(
                (self.steps / self.unit - generator.uniform(0, 1)) / generator.uniform(0.5, 2), 0, 1
            )
            noise *= (1 + (factor - 1) * when) / np.sqrt(factor)
        elif self.chance(0.08, "shrinking noise"):
            noise *= 0.6 + 2 * np.exp(-2 * self.steps / self.unit)
        return noise

    def _standard_noise(self, shape: tuple[int, int]) -> Array:
        generator = self.generator
        kind = generator.random()
        if kind < 0.25:
            noise = generator.standard_t(generator.uniform(2.5, 5), size=shape) / 1.4
        elif kind < 0.35:
            noise = generator.laplace(size=shape) / math.sqrt(2)
        else:
            noise = generator.normal(size=shape)
        if generator.random() < 0.25:
            keep = generator.uniform(0.2, 0.85)
            fresh = math.sqrt(1 - keep * keep)
            for i in range(1, shape[1]):
                noise[:, i] = keep * noise[:, i - 1] + fresh * noise[:, i]
        if generator.random() < 0.1:
            outliers = generator.random(shape) < 0.04
            noise = noise + outliers * generator.normal(0, 6, size=shape)
        return noise

    def _transients(self, values: Array) -> Array:
        """Add falls from which the curves recover: loss spikes, restarts, bad batches."""
        if not self.chance(0.18, "transients"):
            return values
        generator = self.generator
        for _ in range(int(generator.integers(1, 5))):
            at = float(generator.uniform(0, self.end))
            depth = self.log_uniform(0.08, 0.9)
            recovery = self.log_uniform(0.01, 0.3) * min(self.unit, self.end)
            later = np.maximum(self.steps - at, 0)
            values = values - (self.steps >= at) * depth * np.exp(-later / recovery)
        return values

    def _missing(self, values: Array) -> Array:
        """Remove values: at random, of a metric that is rarely computed, or that starts late."""
        if not self.chance(0.2, "missing values"):
            return values
        generator = self.generator
        for row in values:
            kind = generator.integers(4)
            if kind == 1:
                row[generator.random(len(row)) < generator.uniform(0.05, 0.4)] = np.nan
            elif kind == 2:
                every = int(generator.integers(2, 4))
                row[np.arange(len(row)) % every != 0] = np.nan
        return values
