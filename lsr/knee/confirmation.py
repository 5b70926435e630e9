"""The conditions under which the candidate of the knee detector is confirmed.

Times are in units of the rise time (from the start of the rise to the candidate) and heights in
units of the gain, so that the conditions do not depend on the unit of a metric or the length of a
run.
"""

import math

import numpy as np

from lsr.knee.consensus import Consensus
from lsr.knee.posterior import fit_shapes
from lsr.knee.signal import Array

MIN_VALIDATIONS = 7
"""Fewest validations of a judgement: four parameters and a plateau cannot be judged from fewer."""
MIN_AFTER = 3
"""Fewest validations after the candidate."""
MIN_SIGNIFICANCE = 13.0
"""The fitted rise must exceed its error by this factor.

Below it, early wiggles of a noisy curve are taken for its rise.
"""
LATE_WAIT = 2.0
"""After a wait of this many rise times, the probability that is needed has fallen to its lowest."""
LATE_CONFIDENCE = 0.5
"""The lowest probability that is needed: a plateau that long is itself the evidence."""
DROP_WAITS = ((0.3, 2.0), (0.12, 1.0))
"""(fall in gains, wait in rise times): during such a fall the plateau must be watched for longer.

The fall may be a transient, after which the curve comes back, or a collapse.
"""


def question_candidate(
    time: Array, consensus: Consensus, candidate: float, *, wait: float, confidence: float
) -> tuple[float, str]:
    """Ask whether the candidate is the knee, or the consensus still rises.

    Args:
        time: `(n,)` increasing times of the validations.
        consensus: The consensus of the metrics.
        candidate: Time of the candidate.
        wait: Shortest wait after the arrival on the plateau, in rise times.
        confidence: Probability that is needed after the shortest wait.

    Returns:
        The probability that 85 % of the gain is made at the candidate, 0 if it cannot be known yet;
        and why the candidate is not confirmed yet, "" if nothing stands against it.
    """
    base = consensus.base
    arrival = consensus.arrival
    too_few = f"needs {MIN_VALIDATIONS} validations and {MIN_AFTER} after the candidate"
    if len(time) < MIN_VALIDATIONS or len(time) - base < MIN_VALIDATIONS - 2:
        return 0.0, too_few
    posterior = fit_shapes(time[base:], consensus.curve[base:])
    probability = posterior.has_gained(candidate)
    if len(time) - 1 - arrival < MIN_AFTER:
        return probability, too_few
    rise_time = time[arrival] - (time[base] if base else 0.0)
    waited = (time[-1] - time[arrival]) / rise_time
    obstacle = find_obstacle(
        waited,
        consensus.drop(),
        posterior.significance,
        probability,
        wait=wait,
        confidence=confidence,
    )
    return probability, obstacle


def find_obstacle(
    waited: float,
    drop: float,
    significance: float,
    probability: float,
    *,
    wait: float,
    confidence: float,
) -> str:
    """Return why the candidate is not confirmed yet, "" if nothing stands against it.

    Args:
        waited: Time since the candidate, in rise times.
        drop: Height of the newest values below the top, in gains.
        significance: Height of the fitted rise in standard deviations of its error.
        probability: Probability that 85 % of the fast gain is made at the candidate.
        wait: Shortest wait, in rise times.
        confidence: Probability that is needed after the shortest wait. It falls with the logarithm
            of 1 + `waited` to `LATE_CONFIDENCE` at `LATE_WAIT`.
    """
    needed_wait = wait
    for depth, longer_wait in DROP_WAITS:
        if drop > depth:
            needed_wait = max(longer_wait, wait)
            break
    if waited < needed_wait:
        return f"the plateau has lasted {waited:.2f} rise times, {needed_wait} needed"
    if significance < MIN_SIGNIFICANCE:
        return f"the rise is {significance:.1f} times its noise, {MIN_SIGNIFICANCE:.0f} needed"
    needed = float(
        np.interp(math.log1p(waited), np.log1p([wait, LATE_WAIT]), [confidence, LATE_CONFIDENCE])
    )
    if probability < needed:
        return (
            f"may still rise: at the candidate the consensus has made 85 % of its gain with a "
            f"probability of {probability:.0%}, {needed:.0%} needed"
        )
    return ""
