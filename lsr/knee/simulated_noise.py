"""Disturbances of simulated validation curves: steps, noise, transients and missing values."""

from __future__ import annotations

import math

import numpy as np

from lsr.knee.signal import Array


class Dice:
    """A generator that notes the traits it has drawn.

    Args:
        generator: Source of all random numbers.

    Attributes:
        traits: Names of the traits so far.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.traits: list[str] = []

    def chance(self, probability: float, trait: str) -> bool:
        """Return whether a trait is drawn, and note it."""
        drawn = bool(self.generator.random() < probability)
        if drawn:
            self.traits.append(trait)
        return drawn

    def log_uniform(self, low: float, high: float) -> float:
        """Return a number whose logarithm is uniform."""
        return float(np.exp(self.generator.uniform(np.log(low), np.log(high))))


def draw_steps(generator: np.random.Generator) -> Array:
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


def draw_noise(dice: Dice, shape: tuple[int, int], time: Array) -> Array:
    """Draw the noise of all metrics, in gains.

    Args:
        dice: Source of all random numbers.
        shape: Numbers of metrics and of validations.
        time: `(n,)` times of the validations, in knee times.
    """
    generator = dice.generator
    metrics, count = shape
    level = dice.log_uniform(0.004, 0.15)
    if generator.random() < 0.3:
        level = dice.log_uniform(0.01, 0.04)
    noise = _standard_noise(generator, shape)
    if dice.chance(0.25, "correlated metrics"):
        share = generator.uniform(0.2, 0.9)
        common = _standard_noise(generator, (1, count))
        noise = np.sqrt(1 - share) * noise + np.sqrt(share) * common
    spread = np.exp(generator.normal(0, 0.35, size=(metrics, 1)))
    noise *= level * spread
    if dice.chance(0.3, "growing noise"):
        factor = dice.log_uniform(1.3, 5)
        when = np.clip((time - generator.uniform(0, 1)) / generator.uniform(0.5, 2), 0, 1)
        noise *= (1 + (factor - 1) * when) / np.sqrt(factor)
    elif dice.chance(0.08, "shrinking noise"):
        noise *= 0.6 + 2 * np.exp(-2 * time)
    return noise


def _standard_noise(generator: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draw noise of a standard deviation of about 1, heavy-tailed or autocorrelated."""
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


def add_transients(dice: Dice, values: Array, steps: Array, unit: float) -> Array:
    """Add falls from which the curves recover: loss spikes, restarts, bad batches.

    Args:
        dice: Source of all random numbers.
        values: `(metrics, n)` curves, in gains.
        steps: `(n,)` steps of the validations.
        unit: Step of the knee.
    """
    if not dice.chance(0.18, "transients"):
        return values
    generator = dice.generator
    end = float(steps[-1])
    for _ in range(int(generator.integers(1, 5))):
        at = float(generator.uniform(0, end))
        depth = dice.log_uniform(0.08, 0.9)
        recovery = dice.log_uniform(0.01, 0.3) * min(unit, end)
        later = np.maximum(steps - at, 0)
        values = values - (steps >= at) * depth * np.exp(-later / recovery)
    return values


def remove_values(dice: Dice, values: Array) -> Array:
    """Remove values at random, or of a metric that only every second or third validation has."""
    if not dice.chance(0.2, "missing values"):
        return values
    generator = dice.generator
    for row in values:
        kind = generator.integers(4)
        if kind == 1:
            row[generator.random(len(row)) < generator.uniform(0.05, 0.4)] = np.nan
        elif kind == 2:
            every = int(generator.integers(2, 4))
            row[np.arange(len(row)) % every != 0] = np.nan
    return values
