"""Online detector of the knee of validation curves: the end of the fast phase, before the plateau whose variance grows. Pure numpy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lsr.knee.posterior import fit_shapes
from lsr.knee.signal import (
    SMOOTHING,
    Array,
    MetricRise,
    draw_up,
    fill_gaps,
    plateau_arrival,
    running_median,
)

MIN_VALIDATIONS = 7
MIN_AFTER = 3
MIN_SIGNIFICANCE = 13.0
LATE_WAIT = 2.0
LATE_CONFIDENCE = 0.5
DROP_WAITS = ((0.3, 2.0), (0.12, 1.0))
SILENT_LIMIT = 2
REACH_BACK = 1.3


@dataclasses.dataclass(frozen=True)
class KneeVerdict:
    """What is known after one validation; plain values only.

    Attributes:
        step: the validation that this verdict was made at.
        knee_step: the knee, a validated step; None until confirmed.
        confirmed_at_step: the validation that confirmed it.
        candidates: increasing steps whose checkpoints must still be kept.
        candidate_step: the kept step that would be the knee now.
        confidence: probability in [0, 1] that 85 % of the fast gain is made at `candidate_step`.
        consensus: the newest consensus value, about 0 at the start of the rise and 1 at its top.
        per_metric: for each metric `informative`, `reason`, `noise`, `gain`, `noise_to_gain`, `knee_step`, `smoothed` (None where unknown).
        diverged: the loss or every metric was non-finite; nothing will be confirmed any more.
        reason: one line: why confirmed or why not yet.
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
        """Make the verdict again from `dataclasses.asdict`, also from one that went through JSON."""
        return cls(**{**fields, "candidates": tuple(fields["candidates"])})


class KneeDetector:
    """Find the knee of a set of validation metrics while the run goes on.

    **Definition.** An informative metric is `start + gain * (F(t) + slow drift) + noise`, F rising from 0 to 1. The knee is the step at
    which the noise-free fast component has made 95 % of its gain, the median over the informative metrics.

    **Method.** Metrics are turned so that more is better and normalised to their own largest draw-up; their pointwise median is the
    consensus. The candidate is where the smoothed consensus first arrives within 5 % of its top. Whether the consensus still rises is
    asked of a bank of saturating shapes (`lsr.knee.posterior`): the probability that 85 % of the gain is made at the candidate. The state is
    the list of validations and the kept steps; everything else is recomputed, so a resumed run is bit-identical.

    **Defaults**, all free of units (probabilities, fractions of the gain, of the elapsed steps, of the rise time):

    - `confidence = 0.9`: the probability demanded as soon as the candidate may be confirmed. It falls to 0.5 at a wait of two rise times:
      a plateau that long is itself the evidence.
    - `wait = 0.35`: the plateau must be watched for 35 % of the rise time; a shorter look cannot tell it from a bend.
    - `min_step = 0`: no confirmation before this step, for a learning-rate warm-up.
    - `max_candidates = 6`: checkpoints kept: from a factor 1.3 before the candidate on, spread evenly in log-steps.
    - At least 7 validations and 3 after the candidate: four parameters and a plateau cannot be judged from fewer.
    - Significance 13: the fitted rise must exceed its noise thirteenfold, else early wiggles of a noisy curve are taken for its rise.
    - Within a fall of 12 % of the gain the wait is one rise time, of 30 % two: it may be a transient or a collapse.
    - A metric abstains whose gain is under 4 standard deviations of its noise: the range of smoothed pure noise is about 3.
    - Smoothing +-4 % of the validations, the least that calms 10 % noise without blunting a rise of a fifth of the run.
    - For the shapes: at most 64 block medians, outliers beyond 2.5 standard deviations clipped, the rise starts where the consensus leaves
      5 %; 1 % of the gain is added to the noise, since no shape is exact, and a worse misfit widens the posterior (Birge ratio).
    - Diverged: a non-finite loss, or no finite metric in two reports in a row while no finite loss vouches for the weights.
    """

    def __init__(
        self,
        metrics: Mapping[str, str],
        *,
        min_step: int = 0,
        confidence: float = 0.9,
        wait: float = 0.35,
        max_candidates: int = 6,
    ) -> None:
        """Start a detector.

        Args:
            metrics: the direction of each metric, `"max"` (more is better) or `"min"`.
            min_step: the first step at which a knee may be confirmed, >= 0.
            confidence: probability in (0.5, 1) that 85 % of the gain must be made with.
            wait: plateau to watch, as a fraction of the rise time, in (0, 2).
            max_candidates: most checkpoints kept, >= 3.

        Raises:
            ValueError: no metric, another direction, or a setting outside its range.
        """
        if not metrics:
            raise ValueError("the knee detector needs at least one metric")
        for name, direction in metrics.items():
            if direction not in ("max", "min"):
                raise ValueError(
                    f"direction of metric {name!r} must be 'max' or 'min', not {direction!r}"
                )
        if (
            min_step < 0
            or not LATE_CONFIDENCE < confidence < 1
            or not 0 < wait < LATE_WAIT
            or max_candidates < 3
        ):
            raise ValueError(
                f"need min_step >= 0, {LATE_CONFIDENCE} < confidence < 1, 0 < wait < {LATE_WAIT} and max_candidates >= 3, "
                f"got {min_step}, {confidence}, {wait}, {max_candidates}"
            )
        self.metrics = dict(metrics)
        self.min_step = min_step
        self.confidence = confidence
        self.wait = wait
        self.max_candidates = max_candidates
        self._steps: list[int] = []
        self._rows: list[list[float]] = []
        self._last_step: int | None = None
        self._candidates: list[int] = []
        self._silent = 0
        self._diverged = False
        self._confirmed: KneeVerdict | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain values."""
        names = ("metrics", "min_step", "confidence", "wait", "max_candidates")
        return {
            name: dict(self.metrics) if name == "metrics" else getattr(self, name) for name in names
        }

    def update(
        self, step: int, values: Mapping[str, float], loss: float | None = None
    ) -> KneeVerdict:
        """Add one validation.

        Args:
            step: the training step, greater than the last one.
            values: the metrics; one may be missing or non-finite, others are ignored.
            loss: the training or validation loss, if known.

        Returns:
            The verdict; after a confirmation always that of the confirmation.

        Raises:
            ValueError: the step is negative or not greater than the last one.
        """
        if step < 0 or (self._last_step is not None and step <= self._last_step):
            raise ValueError(
                f"validation steps must be >= 0 and increase: {step} after {self._last_step}"
            )
        self._last_step = step
        if self._confirmed is not None:
            return self._confirmed
        row = [
            float(values.get(name, math.nan)) * (1 if way == "max" else -1)
            for name, way in self.metrics.items()
        ]
        row = [value if math.isfinite(value) else math.nan for value in row]
        known = not all(map(math.isnan, row))
        reported = any(name in values for name in self.metrics)
        if known or (loss is not None and math.isfinite(loss)):
            self._silent = 0
        elif reported:
            self._silent += 1
        self._diverged |= (
            loss is not None and not math.isfinite(loss)
        ) or self._silent >= SILENT_LIMIT
        if self._diverged:
            return self._verdict(step, "diverged: the loss or every metric is not finite")
        if not known:
            return self._verdict(step, "no finite metric at this step")
        self._steps.append(int(step))
        self._rows.append(row)
        self._candidates.append(int(step))
        return self._judge(step)

    def state_dict(self) -> dict[str, Any]:
        """The state as plain values (numbers, strings, lists, dicts, None) that JSON can write."""
        return {
            "metrics": dict(self.metrics),
            "steps": list(self._steps),
            "values": [
                [None if math.isnan(value) else value for value in row] for row in self._rows
            ],
            "last_step": self._last_step,
            "candidates": list(self._candidates),
            "silent": self._silent,
            "diverged": self._diverged,
            "confirmed": None if self._confirmed is None else dataclasses.asdict(self._confirmed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; later verdicts are identical to those of the detector that wrote it.

        Raises:
            ValueError: the state belongs to other metrics or directions.
        """
        if list(state["metrics"].items()) != list(self.metrics.items()):
            raise ValueError(
                f"the knee state is of metrics {dict(state['metrics'])}, this detector's are {self.metrics}"
            )
        self._steps = list(state["steps"])
        self._rows = [
            [math.nan if value is None else value for value in row] for row in state["values"]
        ]
        self._last_step = state["last_step"]
        self._candidates = list(state["candidates"])
        self._silent = state["silent"]
        self._diverged = state["diverged"]
        confirmed = state["confirmed"]
        self._confirmed = None if confirmed is None else KneeVerdict.from_plain(confirmed)

    def _verdict(self, step: int, reason: str, **known: Any) -> KneeVerdict:
        """A verdict; what is not given is unknown."""
        unknown = dict.fromkeys(("noise", "gain", "noise_to_gain", "knee_step", "smoothed"))
        fields = {
            "candidate_step": None,
            "confidence": 0.0,
            "consensus": None,
            "per_metric": {
                name: {"informative": False, "reason": "not judged"} | unknown
                for name in self.metrics
            },
            "knee_step": None,
            "confirmed_at_step": None,
        }
        kept = tuple(self._candidates)
        return KneeVerdict(
            **(fields | known),
            step=int(step),
            candidates=kept,
            diverged=self._diverged,
            reason=reason,
        )

    def _judge(self, step: int) -> KneeVerdict:
        """Judge all validations so far and thin the kept steps."""
        steps = np.array(self._steps, dtype=np.float64)
        interval = float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0
        # Time counts from the start of this stage: one interval before its first validation, but never before step 0.
        time = np.maximum(steps - max(0.0, steps[0] - interval), 1e-3 * interval)
        rows = fill_gaps(time, np.array(self._rows, dtype=np.float64).T)
        half = max(1, int(SMOOTHING * len(time)))
        smooth = running_median(rows, half)

        per_metric, normalised = {}, []
        for name, way, raw, curve in zip(
            self.metrics, self.metrics.values(), rows, smooth, strict=True
        ):
            rise = MetricRise.of(time, raw, curve, 2 * half + 1)
            per_metric[name] = self._report(rise, 1 if way == "max" else -1)
            if rise.informative:
                normalised.append((raw - curve[rise.base]) / rise.gain)
        if not normalised:
            self._thin(time, len(time) - 1)
            return self._verdict(
                step, "no metric has risen above its noise yet", per_metric=per_metric
            )

        consensus = np.median(np.array(normalised), axis=0)
        smoothed = running_median(consensus, half)
        base = draw_up(smoothed)[0]
        arrival, top, gain = plateau_arrival(time[base:], consensus[base:], smoothed[base:], half)
        arrival += base
        level = float(np.median(consensus[-(2 * half + 1) :]))
        kept = time[np.searchsorted(steps, self._candidates)]
        nearest = int(np.argmin(np.abs(np.log(kept / time[arrival]))))
        candidate = self._candidates[nearest]
        found = {"candidate_step": candidate, "consensus": level, "per_metric": per_metric}
        confidence = 0.0
        obstacle = f"needs {MIN_VALIDATIONS} validations and {MIN_AFTER} after the candidate"
        if len(time) >= MIN_VALIDATIONS and len(time) - base >= MIN_VALIDATIONS - 2:
            posterior = fit_shapes(time[base:], consensus[base:])
            confidence = posterior.has_gained(float(kept[nearest]))
            if len(time) - 1 - arrival >= MIN_AFTER:
                rise_time = time[arrival] - (time[base] if base else 0.0)
                drop = (top - float(np.median(consensus[-3:]))) / gain
                obstacle = self._obstacle(
                    (time[-1] - time[arrival]) / rise_time, drop, posterior.significance, confidence
                )
        found["confidence"] = confidence
        if not obstacle and step >= self.min_step:
            self._candidates = [candidate]
            reason = f"confirmed: 85 % of the gain in consensus is made at step {candidate} with a probability of {confidence:.0%}"
            self._confirmed = self._verdict(
                step, reason, knee_step=candidate, confirmed_at_step=int(step), **found
            )
            return self._confirmed
        self._thin(time, arrival)
        return self._verdict(step, obstacle or f"min_step {self.min_step} not reached", **found)

    def _report(self, rise: MetricRise, sign: int) -> dict[str, Any]:
        """One metric's entry of `KneeVerdict.per_metric`; its own knee is where 95 % of its rise so far was made."""
        known = math.isfinite(rise.newest)
        return {
            "informative": rise.informative,
            "reason": rise.reason,
            "noise": rise.noise if known else None,
            "gain": rise.gain if known else None,
            "noise_to_gain": rise.noise / rise.gain if known and rise.gain > 0 else None,
            "knee_step": self._steps[rise.arrival] if rise.informative else None,
            "smoothed": sign * rise.newest if known else None,
        }

    def _obstacle(self, waited: float, drop: float, significance: float, confidence: float) -> str:
        """What still stands against a confirmation, in words; empty when nothing does. `waited` is in rise times, `drop` in gains."""
        needed_wait = next(
            (max(wait, self.wait) for depth, wait in DROP_WAITS if drop > depth), self.wait
        )
        needed = float(
            np.interp(
                math.log1p(waited),
                np.log1p([self.wait, LATE_WAIT]),
                [self.confidence, LATE_CONFIDENCE],
            )
        )
        if waited < needed_wait:
            return f"the plateau was watched for {waited:.2f} of the time that the rise took, {needed_wait} needed"
        if significance < MIN_SIGNIFICANCE:
            return f"the rise is {significance:.1f} times its noise, {MIN_SIGNIFICANCE:.0f} needed"
        if confidence < needed:
            return f"may still rise: 85 % of the gain in consensus is made at the candidate with {confidence:.0%}, {needed:.0%} needed"
        return ""

    def _thin(self, time: Array, arrival: int) -> None:
        """Beyond the limit drop first what lies well before the arrival, then where log-steps are densest, never the nearest."""
        while len(self._candidates) > self.max_candidates:
            kept = time[np.searchsorted(self._steps, self._candidates)]
            if kept[1] <= time[arrival] / REACH_BACK:
                del self._candidates[0]
                continue
            gaps = np.log(kept[2:] / kept[:-2])
            nearest = int(np.argmin(np.abs(np.log(kept / time[arrival]))))
            if 0 < nearest < len(kept) - 1:
                gaps[nearest - 1] = np.inf
            del self._candidates[1 + int(np.argmin(gaps))]
