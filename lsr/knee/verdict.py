"""The verdict of the knee detector after one validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


def in_percent(probability: float) -> str:
    """Return a probability as a whole number of per cent; only certainty is 0 % or 100 %."""
    percent = f"{100 * probability:.0f}"
    if probability < 1 and percent == "100":
        return "more than 99 %"
    if probability > 0 and percent == "0":
        return "less than 1 %"
    return f"{percent} %"


def describe_interval(interval: tuple[int | None, int | None], unit: str = "step") -> str:
    """Return the interval of the knee in words, see `KneeVerdict.interval`."""
    low, high = interval
    if low is None:
        return "80 % interval of the knee: far beyond this run, perhaps never"
    if high is None:
        return f"80 % interval of the knee: {unit} {low:,} or later, perhaps never"
    return f"80 % interval of the knee: {unit} {low:,} to {high:,}"


@dataclasses.dataclass(frozen=True)
class KneeVerdict:
    """The knowledge of the detector after one validation, in plain values that JSON can write.

    Attributes:
        step: Step of the validation.
        knee_step: Step of the knee, which is a validated step; None until it is confirmed.
        confirmed_at_step: Step of the validation that confirmed the knee; None until then.
        candidates: Increasing steps whose checkpoints must be kept.
        candidate_step: The kept step that would be the knee if it were confirmed now; None if
            unknown.
        confidence: Probability in [0, 1] that `candidate_step` passes as the knee: 85 to 99 % of
            the fast gain is made there.
        consensus: Newest value of the consensus, about 0 at the start of the rise and 1 at its top;
            None if no metric is informative.
        per_metric: For each metric a dictionary with the keys `informative`, `reason`, `noise`,
            `gain`, `noise_to_gain`, `knee_step` and `smoothed`; an unknown value is None.
        diverged: Whether the run has diverged: the loss is not finite, or no metric was finite in
            two validations in a row. Then no knee is confirmed any more.
        reason: One line that says why the knee is confirmed, or why not yet.
        interval: Steps between which the knee lies with a probability of 80 %. A step is None if it
            is beyond 8 times the elapsed steps or if there may be no knee at all; the interval is
            None if nothing is known.
        remaining: For each informative metric the gain still to come, in its unit and counted as an
            improvement: one dictionary for 1.5 and one for 2 times the elapsed steps, with the keys
            `step`, `gain`, `low` and `high` (median, 10 % and 90 % quantile).
        creeping: One line about a curve that rises like a logarithm, without a plateau in sight;
            "" for any other curve.
        provisional_step: The candidate if it is likelier the knee than not and nothing is wrong
            with the validations; None otherwise, and once it is confirmed.
    """

    step: int
    knee_step: int | None
    confirmed_at_step: int | None
    candidates: tuple[int, ...]
    candidate_step: int | None
    confidence: float
    consensus: float | None
    per_metric: dict[str, dict[str, Any]]
    diverged: bool
    reason: str
    interval: tuple[int | None, int | None] | None = None
    remaining: dict[str, list[dict[str, float]]] = dataclasses.field(default_factory=dict)
    creeping: str = ""
    provisional_step: int | None = None

    @property
    def has_judged(self) -> bool:
        """Whether the validation had any value to be judged."""
        return any(record["gain"] is not None for record in self.per_metric.values())

    @classmethod
    def from_plain(cls, fields: Mapping[str, Any]) -> KneeVerdict:
        """Return the verdict of `dataclasses.asdict`, also if JSON has stored it in between."""
        interval = fields.get("interval")
        tuples = {
            "candidates": tuple(fields["candidates"]),
            "interval": None if interval is None else tuple(interval),
        }
        return cls(**{**fields, **tuples})
