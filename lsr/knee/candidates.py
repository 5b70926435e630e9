"""Choose the checkpoints that are kept while the knee is not confirmed yet."""

import numpy as np

from lsr.knee.signal import Array

REACH_BACK = 1.15
"""Checkpoints earlier than the earliest likely knee by more than this factor are dropped first."""


def nearest_in_log(times: Array, time: float) -> int:
    """Return the index of the time that is nearest to a given time, in the logarithm.

    An error of 10 % of the step counts alike early and late in a run.
    """
    return int(np.argmin(np.abs(np.log(times / time))))


def step_to_drop(kept: Array, earliest: float, best: float) -> int:
    """Return the index of the kept checkpoint that is needed least.

    A checkpoint well before the earliest likely knee is dropped first, else the inner one whose two
    neighbours are closest to each other in the logarithm of time. The checkpoint nearest to the
    best step and the newest one stay.

    Args:
        kept: `(k,)` increasing times of the kept checkpoints, k >= 3.
        earliest: Time before which the knee is unlikely.
        best: Time that passes as the knee with the highest probability.
    """
    if kept[1] <= earliest / REACH_BACK:
        return 0
    gaps = np.log(kept[2:] / kept[:-2])
    nearest = nearest_in_log(kept, best)
    if 0 < nearest < len(kept) - 1:
        gaps[nearest - 1] = np.inf
    return 1 + int(np.argmin(gaps))
