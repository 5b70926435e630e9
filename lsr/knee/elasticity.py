"""Test whether the plateau of the consensus is flat: its slope over the logarithm of time."""

import math

import numpy as np

from lsr.knee.consensus import Consensus
from lsr.knee.signal import Array, neighbour_residual, standard_deviation

FLAT = 0.3
"""A plateau is flat if it surely gains less than this share of the rise per factor e of time."""

_FEWEST = 4
"""Fewest validations of a plateau."""
_WAIT = 0.35
"""Shortest plateau, in rise times."""
_FALL_WAITS = ((0.3, 2.0), (0.12, 1.0))
"""After a fall by more than this share of the gain, the wait in rise times: it may be transient."""
_STANDS_OUT = 10.0
"""The gain must be at least this many standard errors of the plateau."""
_LONG_WAIT = 2.0
"""After this wait the slope itself is the bound, without a margin for its error."""
_MARGIN = 2.0
"""Margin after the shortest wait, in standard errors."""
_MOST_POINTS = 60
"""The slope is that of at most this many validations: the number of pairs grows as its square."""


def upper_elasticity(time: Array, consensus: Consensus) -> float:
    """Return an upper bound of the slope of the plateau, in gains per factor e of time.

    The slope is that of Theil and Sen from the arrival on. The bound is two standard errors above
    it on a short plateau, and falls to the slope itself at a wait of two rise times.

    Args:
        time: `(n,)` increasing times of the validations, > 0.
        consensus: Consensus of the metrics.

    Returns:
        The bound; infinite if the plateau is too short to be judged.
    """
    after = time[consensus.arrival :]
    values = consensus.curve[consensus.arrival :]
    waited = float(after[-1] / after[0] - 1)
    noise = standard_deviation(neighbour_residual(time, consensus.curve))
    if len(after) < _FEWEST or consensus.gain <= 0 or waited < _needed_wait(values, consensus):
        return math.inf
    if consensus.gain < _STANDS_OUT * noise / math.sqrt(len(after)):
        return math.inf
    chosen = np.unique(np.linspace(0, len(after) - 1, _MOST_POINTS).astype(int))
    slope = _theil_sen(np.log(after[chosen]), values[chosen] / consensus.gain)
    # 1.05: standard error of the slope of Theil and Sen / that of least squares, for normal noise.
    error = 1.05 * noise / consensus.gain / math.sqrt(len(after)) / float(np.std(np.log(after)))
    margin = float(np.interp(waited, [_WAIT, _LONG_WAIT], [_MARGIN, 0.0]))
    return slope + margin * error


def why_not_flat(time: Array, consensus: Consensus) -> str:
    """Return why the plateau is not surely flat, "" if it is; arguments of `upper_elasticity`."""
    bound = upper_elasticity(time, consensus)
    if math.isinf(bound):
        return "the plateau is too short to tell whether it is flat"
    if bound > FLAT:
        return f"the plateau may still gain {bound:.0%} of the rise per factor e of time"
    return ""


def _needed_wait(values: Array, consensus: Consensus) -> float:
    """Return how many rise times the plateau must have lasted."""
    fall = (consensus.top - float(np.median(values[-3:]))) / consensus.gain
    return next((wait for depth, wait in _FALL_WAITS if fall > depth), _WAIT)


def _theil_sen(x: Array, y: Array) -> float:
    """Return the median slope over all pairs of points."""
    first, second = np.triu_indices(len(x), 1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))
