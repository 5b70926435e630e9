"""The conditions under which the candidate of the knee detector is confirmed.

Times are in units of the rise time (from the start of training to the candidate), so that the
conditions do not depend on the length of a run.
"""

import math
from collections.abc import Mapping

import numpy as np

from lsr.knee.signal import Array
from lsr.knee.verdict import in_percent

MIN_AFTER = 3
"""Fewest validations after the candidate."""
LATE_WAIT = 1.0
"""After a wait of this many rise times, the probability that is needed has fallen to its lowest."""
LIKELY = 0.5
"""With more than this probability, the candidate is published as the provisional knee."""
LATE_CONFIDENCE = LIKELY
"""The lowest probability that is needed: a plateau that long is itself the evidence."""
PERSISTENCE = 2
"""The conditions must hold at this many validations in a row; noise seldom imitates them twice."""


def check_settings(
    metrics: Mapping[str, str], min_step: int, confidence: float, wait: float, max_candidates: int
) -> None:
    """Raise `ValueError` if an argument of the detector is out of its range."""
    if not metrics:
        raise ValueError(
            "the knee detector has no metrics: name at least one with its direction, max or min"
        )
    for name, direction in metrics.items():
        if direction not in ("max", "min"):
            raise ValueError(
                f"direction of metric {name!r} must be 'max' or 'min', not {direction!r}"
            )
    if min_step < 0 or not 0.5 < confidence < 1 or not 0 < wait < 2 or max_candidates < 3:
        raise ValueError(
            "the knee needs min_step >= 0, 0.5 < confidence < 1, 0 < wait < 2 and max_candidates "
            f">= 3, not {min_step}, {confidence}, {wait} and {max_candidates}"
        )


def find_obstacle(
    time: Array, index: int, probability: float, *, wait: float, confidence: float
) -> str:
    """Return why the candidate is not confirmed yet, "" if nothing stands against it.

    Args:
        time: `(n,)` times of the validations.
        index: Index of the candidate.
        probability: Probability that the candidate passes as the knee.
        wait: Shortest wait, in rise times.
        confidence: Probability that is needed after the shortest wait. It falls with the logarithm
            of 1 + the wait so far to `LATE_CONFIDENCE` at `LATE_WAIT`.
    """
    after = len(time) - 1 - index
    if after < MIN_AFTER:
        return f"{after} of {MIN_AFTER} needed validations after the candidate"
    waited = float(time[-1] / time[index] - 1)
    if waited < wait:
        return f"the plateau has lasted {waited:.2f} rise times, {wait} needed"
    needed = late = min(LATE_CONFIDENCE, confidence)
    if waited < LATE_WAIT:  # then `wait` is below LATE_WAIT as well
        span = np.log1p([wait, LATE_WAIT])
        needed = float(np.interp(math.log1p(waited), span, [confidence, late]))
    if probability < needed:
        return (
            "the knee is at the candidate or close to it with a probability of "
            f"{in_percent(probability)}, {in_percent(needed)} needed"
        )
    return ""
