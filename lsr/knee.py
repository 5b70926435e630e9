"""Online detector of the knee of validation curves: the end of the fast phase, before the plateau whose variance grows. Pure numpy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lsr.knee_model import KneePosterior
from lsr.knee_signal import Array, MetricRise, block_medians, fill_gaps, local_noise, running_median

MAX_BLOCKS = 64
SMOOTHING = 0.04
ONSET_LEVEL = 0.05
MISFIT = 0.01
OUTLIER = 2.5
MIN_VALIDATIONS = 7
MIN_AFTER = 3
MIN_PAST = 0.1
MIN_SIGNIFICANCE = 12.0
HOLD = 2
LATE_WAIT = 2.0
LATE_CONFIDENCE = 0.6
SILENT_LIMIT = 2
RETENTION_SPAN = 3.0
RETENTION_BROAD = 0.1


@dataclasses.dataclass(frozen=True)
class KneeVerdict:
    """What is known after one validation; plain values only.

    Attributes:
        step: the validation that this verdict was made at.
        knee_step: the knee, a validated step; None until confirmed.
        confirmed_at_step: the validation that confirmed it.
        candidates: increasing steps whose checkpoints must still be kept.
        candidate_step: the kept step that would be the knee now.
        confidence: probability in [0, 1] that `candidate_step` lies between 85 % and 99 % of the fast gain.
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


class KneeDetector:
    """Find the knee of a set of validation metrics while the run goes on.

    **Definition.** An informative metric is `start + gain * (F(t) + slow drift) + noise`, F rising from 0 to 1. The knee is the step at
    which the noise-free fast component has made 95 % of its gain, the median over the informative metrics.

    **Method.** Metrics are turned so that more is better, reduced to at most 64 block medians and normalised to their own largest
    draw-up; their pointwise median is the consensus. A bank of saturating shapes is fitted to it (`lsr.knee_model`), which gives the
    probability that a kept step lies between 85 % and 99 % of the fast gain. The state is the list of validations and the candidates;
    everything else is recomputed, so a resumed run is bit-identical.

    **Defaults**, all free of units (probabilities, fractions of the gain, of the elapsed steps, of the time to the candidate):

    - `confidence = 0.9`: the candidate must be in tolerance with this probability at two validations in a row: a fit that first crosses a
      threshold is often a fluke of the newest point. After a wait of twice the time to the candidate 0.6 is enough: from then on more
      plateau changes little.
    - `wait = 0.35`: the plateau must be watched for 35 % of the time to the candidate; a shorter look cannot tell it from a bend.
    - `min_step = 0`: no confirmation before this step, for a learning-rate warm-up.
    - `max_candidates = 6`: checkpoints kept; dropped first is the one for which its neighbours stand in best.
    - At least 7 validations and 3 after the candidate: four parameters and a plateau cannot be judged from fewer.
    - Significance 12: the fitted rise must exceed its noise twelvefold, else early wiggles of a noisy curve are taken for its rise.
    - The knee itself must lie behind the wait with probability 0.1: 85 % of the gain may be safe while the curve surely still rises.
    - A metric abstains whose gain is under 4 standard deviations of its noise: the range of smoothed pure noise is about 3.
    - Smoothing +-4 % of the blocks; outliers beyond 2.5 standard deviations are clipped; the rise starts where the consensus leaves 5 %.
    - No shape is exact: 1 % of the gain is added to the noise, and a worse misfit widens the posterior (Birge ratio).
    - Kept checkpoints reach back to a third of the elapsed steps with weight 0.1 beside the posterior's 0.9, which may err for a while.
    - Diverged: a non-finite loss, or no finite metric in two reports in a row while no finite loss vouches for the weights.
    """

    def __init__(
        self, metrics: Mapping[str, str], *, min_step: int = 0, confidence: float = 0.9, wait: float = 0.35, max_candidates: int = 6
    ) -> None:
        """Start a detector.

        Args:
            metrics: the direction of each metric, `"max"` (more is better) or `"min"`.
            min_step: the first step at which a knee may be confirmed, >= 0.
            confidence: probability in (0.6, 1) that the knee must be in tolerance with.
            wait: plateau to watch, as a fraction of the time to the candidate, in (0, 2).
            max_candidates: most checkpoints kept, >= 3.

        Raises:
            ValueError: no metric, another direction, or a setting outside its range.
        """
        if not metrics:
            raise ValueError("the knee detector needs at least one metric")
        for name, direction in metrics.items():
            if direction not in ("max", "min"):
                raise ValueError(f"direction of metric {name!r} must be 'max' or 'min', not {direction!r}")
        if min_step < 0 or not LATE_CONFIDENCE < confidence < 1 or not 0 < wait < LATE_WAIT or max_candidates < 3:
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
        self._held = 0
        self._diverged = False
        self._confirmed: KneeVerdict | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain values."""
        names = ("metrics", "min_step", "confidence", "wait", "max_candidates")
        return {name: dict(self.metrics) if name == "metrics" else getattr(self, name) for name in names}

    def update(self, step: int, values: Mapping[str, float], loss: float | None = None) -> KneeVerdict:
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
            raise ValueError(f"validation steps must be >= 0 and increase: {step} after {self._last_step}")
        self._last_step = step
        if self._confirmed is not None:
            return self._confirmed
        row = [float(values.get(name, math.nan)) * (1 if way == "max" else -1) for name, way in self.metrics.items()]
        row = [value if math.isfinite(value) else math.nan for value in row]
        known = not all(map(math.isnan, row))
        reported = any(name in values for name in self.metrics)
        if known or (loss is not None and math.isfinite(loss)):
            self._silent = 0
        elif reported:
            self._silent += 1
        self._diverged |= (loss is not None and not math.isfinite(loss)) or self._silent >= SILENT_LIMIT
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
            "values": [[None if math.isnan(value) else value for value in row] for row in self._rows],
            "last_step": self._last_step,
            "candidates": list(self._candidates),
            "silent": self._silent,
            "held": self._held,
            "diverged": self._diverged,
            "confirmed": None if self._confirmed is None else dataclasses.asdict(self._confirmed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; later verdicts are identical to those of the detector that wrote it.

        Raises:
            ValueError: the state belongs to other metrics or directions.
        """
        if list(state["metrics"].items()) != list(self.metrics.items()):
            raise ValueError(f"the knee state is of metrics {dict(state['metrics'])}, this detector's are {self.metrics}")
        self._steps = list(state["steps"])
        self._rows = [[math.nan if value is None else value for value in row] for row in state["values"]]
        self._last_step = state["last_step"]
        self._candidates = list(state["candidates"])
        self._silent = state["silent"]
        self._held = state["held"]
        self._diverged = state["diverged"]
        confirmed = state["confirmed"]
        self._confirmed = None if confirmed is None else KneeVerdict(**{**confirmed, "candidates": tuple(confirmed["candidates"])})

    def _verdict(self, step: int, reason: str, **known: Any) -> KneeVerdict:
        """A verdict; what is not given is unknown."""
        unknown = dict.fromkeys(("noise", "gain", "noise_to_gain", "knee_step", "smoothed")) | {
            "informative": False,
            "reason": "not judged",
        }
        fields = {
            "candidate_step": None,
            "confidence": 0.0,
            "consensus": None,
            "per_metric": {name: dict(unknown) for name in self.metrics},
            "knee_step": None,
            "confirmed_at_step": None,
        }
        kept = tuple(self._candidates)
        return KneeVerdict(**(fields | known), step=int(step), candidates=kept, diverged=self._diverged, reason=reason)

    def _judge(self, step: int) -> KneeVerdict:
        """Judge all validations so far and thin the candidates."""
        steps = np.array(self._steps, dtype=np.float64)
        interval = float(np.median(np.diff(steps))) if len(steps) > 1 else float(steps[0])
        # Steps count from the start of this stage: one interval before its first validation, but never before step 0.
        origin = max(0.0, steps[0] - interval)
        elapsed = np.maximum(steps - origin, 1e-3 * interval if interval > 0 else 1.0)
        centres, blocks = block_medians(elapsed, np.array(self._rows, dtype=np.float64).T, MAX_BLOCKS)
        blocks = fill_gaps(centres, blocks)
        half = max(1, round(SMOOTHING * len(centres))) if len(centres) >= 5 else 0
        smooth = running_median(blocks, half)

        per_metric, normalised, bases = {}, [], []
        for name, way, raw, curve in zip(self.metrics, self.metrics.values(), blocks, smooth, strict=True):
            rise = MetricRise.of(centres, raw, curve, 2 * half + 1)
            per_metric[name] = self._report(rise, 1 if way == "max" else -1, origin)
            if rise.informative:
                normalised.append((raw - curve[rise.base]) / rise.gain)
                bases.append(rise.base)
        if not normalised or len(steps) < 5:
            self._held = 0
            self._thin(elapsed, None)
            reason = "no metric has risen above its noise yet" if not normalised else "fewer than 5 validations"
            return self._verdict(step, reason, per_metric=per_metric)

        consensus = np.median(np.array(normalised), axis=0)
        level = float(np.median(consensus[-(2 * half + 1) :]))
        base = min(int(np.median(bases)), len(consensus) - 4)
        posterior = self._fit(centres[base:], consensus[base:], half, elapsed[-1])
        kept = elapsed[np.searchsorted(steps, self._candidates)]
        inside = posterior.within_tolerance(kept)
        # Among the kept steps that are as good as the best one, the nearest to the posterior's median.
        index = int(np.argmin(np.where(inside >= inside.max() - 0.05, np.abs(np.log(kept / posterior.median())), np.inf)))
        candidate, confidence = self._candidates[index], float(inside[index])
        obstacle = self._obstacle(posterior, kept[index], elapsed, confidence)
        self._held = 0 if obstacle else self._held + 1
        found = {"candidate_step": candidate, "confidence": confidence, "consensus": level, "per_metric": per_metric}
        if self._held >= HOLD and step >= self.min_step:
            reason = f"confirmed: {confidence:.0%} sure that step {candidate} is within 85-99 % of the fast gain"
            self._candidates = [candidate]
            self._confirmed = self._verdict(step, reason, knee_step=candidate, confirmed_at_step=int(step), **found)
            return self._confirmed
        self._thin(elapsed, posterior)
        waiting = f"min_step {self.min_step} not reached" if self._held >= HOLD else "must hold at the next validation too"
        return self._verdict(step, obstacle or waiting, **found)

    def _report(self, rise: MetricRise, sign: int, origin: float) -> dict[str, Any]:
        """One metric's entry of `KneeVerdict.per_metric`; the own knee is the validation nearest to 95 % of the rise so far."""
        known = math.isfinite(rise.newest)
        return {
            "informative": rise.informative,
            "reason": rise.reason,
            "noise": rise.noise if known else None,
            "gain": rise.gain if known else None,
            "noise_to_gain": rise.noise / rise.gain if known and rise.gain > 0 else None,
            "knee_step": min(self._steps, key=lambda step: abs(step - origin - rise.arrival)) if rise.informative else None,
            "smoothed": sign * rise.newest if known else None,
        }

    def _fit(self, centres: Array, consensus: Array, half: int, last: float) -> KneePosterior:
        """Posterior of the consensus from its base on."""
        smooth = running_median(consensus, half)
        low = np.flatnonzero(smooth <= ONSET_LEVEL * smooth.max())
        onset = float(centres[low[-1]]) if low.size and low[-1] > 0 else 0.0
        noise = np.sqrt(local_noise(centres, consensus) ** 2 + MISFIT**2)
        middle = running_median(consensus, 2)
        clipped = middle + np.clip(consensus - middle, -OUTLIER * noise, OUTLIER * noise)
        return KneePosterior(centres, clipped, noise, onset, last)

    def _obstacle(self, posterior: KneePosterior, candidate: float, elapsed: Array, confidence: float) -> str:
        """What still stands against a confirmation, in words; empty when nothing does."""
        waited = elapsed[-1] / candidate - 1
        needed = float(np.interp(math.log1p(waited), np.log1p([self.wait, LATE_WAIT]), [self.confidence, LATE_CONFIDENCE]))
        past = float(posterior.knee_before(elapsed[-1:] / (1 + self.wait))[0])
        if len(elapsed) < MIN_VALIDATIONS or int((elapsed > candidate).sum()) < MIN_AFTER:
            return f"needs {MIN_VALIDATIONS} validations and {MIN_AFTER} after the candidate"
        if posterior.significance < MIN_SIGNIFICANCE:
            return f"the rise is {posterior.significance:.1f} times its noise, {MIN_SIGNIFICANCE:.0f} needed"
        if waited < self.wait:
            return f"the plateau was watched for {waited:.0%} of the time to the candidate, {self.wait:.0%} needed"
        if past < MIN_PAST:
            return f"still rising: the knee lies behind with a probability of {past:.0%} only"
        if confidence < needed:
            return f"{confidence:.0%} sure of the candidate, {needed:.0%} needed"
        return ""

    def _thin(self, elapsed: Array, posterior: KneePosterior | None) -> None:
        """Drop candidates beyond the limit, each time the one whose neighbours best stand in for it."""
        while len(self._candidates) > self.max_candidates:
            kept = elapsed[np.searchsorted(self._steps, self._candidates)]
            edges = np.concatenate([kept[:1] / 2, kept])
            mass = np.interp(np.log(edges), np.log(kept[-1] / np.array([RETENTION_SPAN, 1.0])), [0.0, 1.0])
            if posterior is not None:
                mass = RETENTION_BROAD * mass + (1 - RETENTION_BROAD) * posterior.knee_before(edges)
            spread = np.log(edges[2:] / edges[:-2])
            del self._candidates[int(np.argmin((mass[2:] - mass[:-2] + 1e-6) * spread))]
