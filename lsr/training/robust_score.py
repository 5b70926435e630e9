"""Scores that tell a spike of a loss or a gradient norm from its usual values."""

import math
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_MAD_TO_SIGMA = 1.4826
"""Standard deviation / median absolute deviation of a normal distribution."""
_LEAST_SIGMA = 0.01
"""Smaller standard deviations are raised to this one."""


class RobustScore:
    """How far a new value lies from the recent ones, in robust standard deviations.

    The score of x is `z = (ln x - median) / (1.4826 MAD)`, with the median and the median absolute
    deviation (MAD) of the logarithms in a window of accepted values. Losses and gradient norms are
    positive and skewed, hence the logarithm; median and MAD, unlike mean and standard deviation, do
    not follow the outliers that they are used to find. Denominators below 0.01 are raised to 0.01.

    Args:
        window: Number of values remembered.
        warm_up: Number of values needed before a value is judged.
    """

    def __init__(self, window: int = 300, warm_up: int = 50) -> None:
        self.warm_up = warm_up
        self.window = window
        self.values: deque[float] = deque()
        self._ordered: list[float] = []

    def __call__(self, value: float) -> float:
        """Return the score of `value`: 0 during warm-up, infinity for a non-finite value."""
        if not math.isfinite(value):
            return math.inf
        if len(self.values) < self.warm_up:
            return 0.0
        median = _median(self._ordered)
        deviation = _median(np.sort(np.abs(np.array(self._ordered) - median)))
        return (_log(value) - median) / max(_MAD_TO_SIGMA * deviation, _LEAST_SIGMA)

    def reaches(self, value: float, threshold: float) -> bool:
        """Return whether the score of `value` is at least `threshold`, which is above 0.

        For most values this takes a twentieth of the time of the score: the MAD is not needed if
        too few values of the window lie so near its median that the score could be that high.
        """
        if math.isfinite(value) and len(self.values) >= self.warm_up:
            median = _median(self._ordered)
            sigma = (_log(value) - median) / threshold
            reach = sigma / _MAD_TO_SIGMA
            first = bisect_left(self._ordered, median - reach)
            near = bisect_right(self._ordered, median + reach) - first
            if sigma < _LEAST_SIGMA or near < len(self._ordered) // 2:
                return False
        return self(value) >= threshold

    def accept(self, value: float) -> None:
        """Add a value to the window, unless it is not finite."""
        if math.isfinite(value):
            self.extend([_log(value)])

    def extend(self, logarithms: Iterable[float]) -> None:
        """Add values to the window, whose logarithms are given."""
        for logarithm in logarithms:
            if len(self.values) == self.window:
                del self._ordered[bisect_left(self._ordered, self.values.popleft())]
            self.values.append(logarithm)
            insort(self._ordered, logarithm)


def _median(ordered: Sequence[float] | np.ndarray) -> float:
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
                scores[i].extend(values)
