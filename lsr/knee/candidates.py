"""Choose the checkpoints that are kept while the knee is not confirmed yet."""

import numpy as np

from lsr.knee.signal import Array

REACH_BACK = 1.3
"""Checkpoints earlier than the arrival by more than this factor are the first to be dropped."""


def nearest_in_log(times: Array, time: float) -> int:
    """Return the index of the time that is nearest to a given time, in the logarithm.

    An error of 10 % of the step counts alike early and late in a run.
    """
    return int(np.argmin(np.abs(np.log(times / time))))


def step_to_drop(kept: Array, arrival: float) -> int:
    """Return the index of the kept checkpoint that is needed least.

    A checkpoint well before the arrival is dropped first, else the inner one whose two neighbours
    are closest to each other in the logarithm of time. The checkpoint nearest to the arrival and
    the newest one stay.

    Args:
        kept: `(k,)` increasing times of the kept checkpoints, k >= 3.
        arrival: Time at which the consensus arrived on its plateau.
    """
    if kept[1] <= arrival / REACH_BACK:
        return 0
    gaps = np.log(kept[2:] / kept[:-2])
    nearest = nearest_in_log(kept, arrival)
    if 0 < nearest < len(kept) - 1:
        gaps[nearest - 1] = np.inf
    return 1 + int(np.argmin(gaps))
