"""Rises of which much is made before the first validations, and much long after them.

They are what real validation curves often are: a steep start, and a tail that goes on. The form of
the functions is that of `lsr.knee.simulated_rises`.
"""

from __future__ import annotations

import numpy as np

from lsr.knee.signal import Array
from lsr.knee.simulated_rises import Curve, capped, log_uniform, logarithm, power


def two_speeds(generator: np.random.Generator) -> Curve:
    """Return a fast exponential and one that is one to two orders of magnitude slower."""
    share = generator.uniform(0.3, 0.9)
    slower = log_uniform(generator, 12, 150)
    return lambda t: -share * np.expm1(-t) - (1 - share) * np.expm1(-t / slower)


def long_tail(generator: np.random.Generator) -> Curve:
    """Return a steep start and a power law that goes on, as scaling laws have it."""
    share = generator.uniform(0.3, 0.85)
    p = generator.uniform(0.4, 1.5)
    slower = log_uniform(generator, 1, 20)
    return lambda t: -share * np.expm1(-t) + (1 - share) * (1 - (1 + t / slower) ** -p)


def steep_logarithm(generator: np.random.Generator) -> Curve:
    """Return a capped logarithm whose start is steep."""
    return capped(generator, log_uniform(generator, 30, 3000))


def decayed_rate(generator: np.random.Generator) -> Curve:
    """Return a rise whose speed follows a learning rate that decays to 0 at time 1.

    The remaining gap shrinks as `d gap / d t = -speed * rate * gap^(1 + k)`. A share of the gain is
    noise of the optimiser, which falls with the rate.
    """
    speed = log_uniform(generator, 2, 60)
    k = generator.uniform(0.3, 2)
    share = generator.uniform(0, 0.3)
    cosine = generator.random() < 0.6
    end = 1 - (1 + k * speed / 2) ** (-1 / k)

    def rise(t: Array) -> Array:
        t = np.minimum(t, 1)
        rate = (1 + np.cos(np.pi * t)) / 2 if cosine else 1 - t
        travelled = (t + np.sin(np.pi * t) / np.pi) / 2 if cosine else t - t * t / 2
        gap = 1 - (1 + k * speed * travelled) ** (-1 / k)
        return (1 - share) * gap / end + share * (1 - rate)

    return rise


def creeping_tail(generator: np.random.Generator) -> Curve:
    """Return a steep first rise, and a power or a logarithm that goes on from the start."""
    share = generator.uniform(0.3, 0.85)
    first = log_uniform(generator, 8, 100)
    slow = power if generator.random() < 0.6 else logarithm
    tail = slow(generator)
    return lambda t: -share * np.expm1(-first * t) + (1 - share) * tail(t)
