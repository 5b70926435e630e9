"""Scores that tell a spike of a loss or a gradient norm from its usual values."""

import math
from collections import defaultdict, deque
from typing import Any

import numpy as np


class RobustScore:
    """How far a new value lies from the recent ones, in robust standard deviations.

    The score of x is `z = (ln x - median) / (1.4826 MAD)`, with the median and the median absolute
    deviation (MAD) of the logarithms in a window of accepted values. Losses and gradient norms are
    positive and skewed, hence the logarithm; median and MAD, unlike mean and standard deviation, do
    not follow the outliers that they are used to find. For a normal distribution 1.4826 MAD is the
    standard deviation. Denominators below 0.01 are raised to 0.01.

    Args:
        window: Number of values remembered.
        warm_up: Number of values needed before a value is judged.
    """

    def __init__(self, window: int = 300, warm_up: int = 50) -> None:
        self.warm_up = warm_up
        self.values: deque[float] = deque(maxlen=window)

    def __call__(self, value: float) -> float:
        """Return the score of `value`: 0 during warm-up, infinity for a non-finite value."""
        if not math.isfinite(value):
            return math.inf
        if len(self.values) < self.warm_up:
            return 0.0
        known = np.array(self.values)
        median = _median(known)
        return (_log(value) - median) / max(1.4826 * _median(np.abs(known - median)), 0.01)

    def accept(self, value: float) -> None:
        """Add a value to the window, unless it is not finite."""
        if math.isfinite(value):
            self.values.append(_log(value))


def _median(values: np.ndarray) -> float:
    # np.median takes ten times as long for a few hundred values, and this runs at every step.
    ordered = np.sort(values)
    half = len(ordered) // 2
    return float(ordered[half] + ordered[-half - 1]) / 2


def _log(value: float) -> float:
    return math.log(max(value, 1e-30))


class StepScores:
    """Scores of the gradient norms and the losses of training steps, and the steps not taken.

    Steps are compared with steps of the same group only: of the same expert, or optimiser.

    Attributes:
        skipped: Number of spikes that were skipped in a row.
        skipped_non_finite: Number of steps with a non-finite norm that were skipped in a row.
    """

    def __init__(self) -> None:
        self.norms: defaultdict[int, RobustScore] = defaultdict(RobustScore)
        self.losses: defaultdict[int, RobustScore] = defaultdict(RobustScore)
        self.skipped = 0
        self.skipped_non_finite = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the windows of recent norms and losses, and the counters, as plain values."""
        return {
            "norms": {i: list(score.values) for i, score in self.norms.items()},
            "losses": {i: list(score.values) for i, score in self.losses.items()},
            "skipped": self.skipped,
            "skipped_non_finite": self.skipped_non_finite,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the windows and the counters from a checkpoint, in place of the present ones."""
        self.skipped = state_dict["skipped"]
        self.skipped_non_finite = state_dict.get("skipped_non_finite", 0)
        for scores, key in ((self.norms, "norms"), (self.losses, "losses")):
            scores.clear()
            for i, values in state_dict[key].items():
                scores[i].values.extend(values)
