"""Rising curves: the noise-free building blocks of `lsr.knee.simulator`.

Every family is a function that draws its parameters from a generator and returns `F`, which rises
from 0 at time 0. A saturating `F` tends to 1 in its own unit of time. Of the others, time 1 is the
end of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lsr.knee.signal import Array

Curve = Callable[[Array], Array]
Draw = Callable[[np.random.Generator], Curve]


def log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """Return a number whose logarithm is uniform."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def exponential(generator: np.random.Generator) -> Curve:
    """Return `1 - exp(-t)`."""
    return lambda t: -np.expm1(-t)


def stretched(generator: np.random.Generator) -> Curve:
    """Return a Weibull rise: `1 - exp(-t^m)`, concave for m < 1, an S for m > 1."""
    m = log_uniform(generator, 0.5, 3)
    return lambda t: -np.expm1(-(t**m))


def power_law(generator: np.random.Generator) -> Curve:
    """Return `1 - (1 + t)^-p`, whose tail is heavier than any exponential."""
    p = log_uniform(generator, 0.6, 6)
    return lambda t: 1 - (1 + t) ** -p


def double_exponential(generator: np.random.Generator) -> Curve:
    """Return the sum of a fast and a slow exponential."""
    share = generator.uniform(0.4, 0.9)
    slower = log_uniform(generator, 2, 12)
    return lambda t: -share * np.expm1(-t) - (1 - share) * np.expm1(-t / slower)


def logistic(generator: np.random.Generator) -> Curve:
    """Return a logistic curve that starts at 0."""
    centre = generator.uniform(0.5, 7)
    start = 1 / (1 + math.exp(centre))
    return lambda t: (1 / (1 + np.exp(np.clip(centre - t, -500, 500))) - start) / (1 - start)


def richards(generator: np.random.Generator) -> Curve:
    """Return a skewed logistic curve (Richards 1959)."""
    skew = log_uniform(generator, 0.2, 5)
    centre = generator.uniform(0, 5)

    def raw(t: Array) -> Array:
        return (1 + skew * np.exp(np.clip(centre - t, -500, 500))) ** (-1 / skew)

    start = float(raw(np.zeros(1))[0])
    return lambda t: (raw(t) - start) / (1 - start)


def gompertz(generator: np.random.Generator) -> Curve:
    """Return a Gompertz curve that starts at 0."""
    depth = generator.uniform(0.5, 6)
    start = math.exp(-depth)
    return lambda t: (np.exp(-depth * np.exp(-t)) - start) / (1 - start)


def hill(generator: np.random.Generator) -> Curve:
    """Return `t^h / (1 + t^h)`."""
    h = log_uniform(generator, 0.9, 4)
    return lambda t: t**h / (1 + t**h)


def hyperbolic(generator: np.random.Generator) -> Curve:
    """Return a tanh, an arc tangent, or `t / sqrt(1 + t^2)`."""
    kind = generator.integers(3)
    if kind == 0:
        return np.tanh
    if kind == 1:
        return lambda t: np.arctan(t) * (2 / np.pi)
    return lambda t: t / np.sqrt(1 + t * t)


def corner(generator: np.random.Generator) -> Curve:
    """Return a ramp `t^q` that stops at 1, or half a cosine."""
    if generator.random() < 0.3:
        return lambda t: (1 - np.cos(np.pi * np.minimum(t, 1))) / 2
    q = log_uniform(generator, 0.4, 1.6)
    return lambda t: np.minimum(t, 1) ** q


def capped_logarithm(generator: np.random.Generator) -> Curve:
    """Return a logarithm that stops at 1, sharply or softly."""
    return capped(generator, log_uniform(generator, 1, 30))


def capped(generator: np.random.Generator, bend: float) -> Curve:
    """Return `log(1 + bend t)` that stops at 1, sharply or softly."""
    softness = generator.choice([0.0, 0.1, 0.3])

    def rise(t: Array) -> Array:
        height = np.log1p(bend * t) / np.log1p(bend)
        if softness == 0:
            return np.minimum(height, 1)
        soft = height - softness * np.logaddexp(0, (height - 1) / softness)
        first = -softness * np.logaddexp(0, -1 / softness)
        return (soft - first) / (1 - first)

    return rise


def staged(generator: np.random.Generator) -> Curve:
    """Return two or three rises with short rests in between."""
    count = int(generator.integers(2, 4))
    shares = generator.dirichlet(np.full(count, 4.0))
    starts = np.concatenate([[0.0], np.cumsum(generator.uniform(1.5, 6, size=count - 1))])
    sharp = generator.uniform(0.7, 1.3, size=count)
    smooth = generator.random() < 0.5

    def rise(t: Array) -> Array:
        total = np.zeros_like(t)
        for share, start, rate in zip(shares, starts, sharp, strict=True):
            z = np.maximum(t - start, 0) * rate
            total = total + share * (-np.expm1(-z * z) if smooth else -np.expm1(-z))
        return total

    return rise


def random_monotone(generator: np.random.Generator) -> Curve:
    """Return a random increasing curve without a formula: a mixture of many small rises."""
    count = int(generator.integers(4, 12))
    shares = generator.dirichlet(np.full(count, generator.uniform(0.5, 3)))
    rates = np.exp(generator.normal(0, generator.uniform(0.3, 1.2), size=count))
    shape = generator.uniform(0.8, 2.5, size=count)

    def rise(t: Array) -> Array:
        z = t[..., None] * rates
        return (-np.expm1(-(z**shape))) @ shares

    return rise


def power(generator: np.random.Generator) -> Curve:
    """Return `t^q`: concave, a line, or accelerating."""
    q = 1.0 if generator.random() < 0.3 else log_uniform(generator, 0.15, 1.8)
    return lambda t: t**q


def logarithm(generator: np.random.Generator) -> Curve:
    """Return `log(1 + c t)`, which creeps for ever."""
    bend = log_uniform(generator, 3, 1000)
    return lambda t: np.log1p(bend * t) / np.log1p(bend)


def shallow_power_law(generator: np.random.Generator) -> Curve:
    """Return `1 - (1 + c t)^-p` with p < 0.5: the tail is far from its end."""
    bend = log_uniform(generator, 2, 300)
    p = generator.uniform(0.05, 0.5)
    return lambda t: 1 - (1 + bend * t) ** -p


def second_stage(generator: np.random.Generator) -> Curve:
    """Return a short first rise, and a second one that is larger and goes on."""
    share = generator.uniform(0.1, 0.5)
    first = generator.uniform(3, 15)
    start = generator.uniform(0.05, 0.4)
    q = generator.uniform(0.6, 1.2)
    return lambda t: -share * np.expm1(-first * t) + (1 - share) * np.maximum(t - start, 0) ** q
