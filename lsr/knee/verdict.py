"""The verdict of the knee detector after one validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class KneeVerdict:
    """The knowledge of the detector after one validation, in plain values that JSON can write.

    Attributes:
        step: Step of the validation.
        knee_step: Step of the knee, which is a validated step; None until it is confirmed.
        confirmed_at_step: Step of the validation that confirmed the knee; None until then.
        candidates: Steps whose checkpoints must be kept, in increasing order.
        candidate_step: The kept step that would be the knee if it were confirmed now; None if
            unknown.
        confidence: Probability in [0, 1] that 85 % of the fast gain, see `KneeDetector`, is made at
            `candidate_step`.
        consensus: Newest value of the consensus, about 0 at the start of the rise and 1 at its
            top; None if no metric is informative.
        per_metric: For each metric a dictionary with the keys `informative`, `reason`, `noise`,
            `gain`, `noise_to_gain`, `knee_step` and `smoothed`; an unknown value is None.
        diverged: Whether the run has diverged: the loss is not finite, or no metric was finite in
            two validations in a row. Then no knee is confirmed any more.
        reason: One line that says why the knee is confirmed, or why not yet.
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

    @classmethod
    def from_plain(cls, fields: Mapping[str, Any]) -> KneeVerdict:
        """Return the verdict of `dataclasses.asdict`, also if JSON has stored it in between."""
        return cls(**{**fields, "candidates": tuple(fields["candidates"])})
