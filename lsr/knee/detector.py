"""Detect the knee of validation curves while a run goes on.

`docs/knee.md` explains the definition and the method, `docs/knee-scores.md` has the scores. Only
numpy is used.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lsr.knee.bad_input import describe_repeat, find_fault
from lsr.knee.candidates import step_to_drop
from lsr.knee.confirmation import LIKELY, PERSISTENCE, check_settings, find_obstacle
from lsr.knee.consensus import MeasuredRun, turn_up
from lsr.knee.elasticity import why_not_flat
from lsr.knee.features import describe
from lsr.knee.forecast import forecast
from lsr.knee.network import Ensemble, trained_ensemble
from lsr.knee.signal import Array
from lsr.knee.verdict import KneeVerdict, in_percent

SILENT_LIMIT = 2
"""So many reports in a row without a finite metric are a divergence."""

EARLIEST = 0.1
"""Checkpoints are kept from the step on before which the knee lies with this probability."""


class KneeDetector:
    """Find the knee of a set of validation metrics while the run goes on.

    **Definition.** The curve of an informative metric is `start + gain * (F(t) + slow drift) +
    noise`, where `F` rises from 0 to 1. The knee is the step at which the noise-free fast component
    has made 95 % of its gain; with several informative metrics, the median of their knees.

    **Method.** Each metric is turned so that more is better, and normalised to its largest rise
    (its gain). The pointwise median of the informative metrics is the consensus.
    `lsr.knee.features` describes it by numbers that do not depend on units, and a small network
    (`lsr.knee.network`), trained on simulated runs, estimates the posterior of the knee. The
    candidate is the kept step that passes as the knee with the highest probability. The knee is
    confirmed once this probability is high enough, the slope of the plateau is flat, and the other
    conditions of `lsr.knee.confirmation` hold, all at two validations in a row.

    **State.** The detector stores the validations, the kept steps and for how many validations the
    conditions have held. The rest is recomputed, so a resumed run gives bit-identical verdicts.

    **Divergence.** A run has diverged at a non-finite loss, or after two reports in a row without a
    finite metric, unless a finite loss vouches for the weights.

    Args:
        metrics: Direction of each metric: `"max"` (more is better) or `"min"`.
        min_step: First step at which a knee may be confirmed, >= 0; for example the end of the
            learning-rate warm-up.
        confidence: Probability in (0.5, 1) that is needed as soon as the candidate may be
            confirmed. It falls to 0.5 after a wait of one rise time.
        wait: Time for which the plateau must be watched, as a fraction of the rise time, in (0, 2).
            A shorter look cannot tell a plateau from a bend.
        max_candidates: Largest number of checkpoints to keep, >= 3. They lie around the candidate,
            from the earliest likely knee on, evenly spaced in the logarithm of the step.
        ensemble: Networks that estimate the knee; None for those that come with the library.

    Raises:
        ValueError: If there is no metric, a direction is unknown, or a setting is out of its range.
    """

    def __init__(
        self,
        metrics: Mapping[str, str],
        *,
        min_step: int = 0,
        confidence: float = 0.95,
        wait: float = 0.25,
        max_candidates: int = 6,
        ensemble: Ensemble | None = None,
    ) -> None:
        check_settings(metrics, min_step, confidence, wait, max_candidates)
        self.metrics = dict(metrics)
        self.min_step = min_step
        self.confidence = confidence
        self.wait = wait
        self.max_candidates = max_candidates
        self._ensemble = ensemble or trained_ensemble()
        self._steps: list[int] = []
        self._rows: list[list[float]] = []
        self._last_step: int | None = None
        self._candidates: list[int] = []
        self._convinced = 0
        self._silent = 0
        self._repeated = ""
        self._diverged = False
        self._confirmed: KneeVerdict | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor as plain values."""
        return {
            "metrics": dict(self.metrics),
            "min_step": self.min_step,
            "confidence": self.confidence,
            "wait": self.wait,
            "max_candidates": self.max_candidates,
        }

    def update(
        self, step: int, values: Mapping[str, float], loss: float | None = None
    ) -> KneeVerdict:
        """Add one validation and return the verdict.

        Args:
            step: Training step, greater than that of the previous validation. After a step that is
                not, no knee is confirmed any more: the validations are not of one run.
            values: Values of the metrics. A metric may be missing or non-finite; names that are not
                metrics of the detector are ignored.
            loss: Training or validation loss, None if unknown.

        Returns:
            The verdict. After a confirmation it is always the verdict of the confirmation.

        Raises:
            ValueError: If the step is negative.
        """
        if step < 0:
            raise ValueError(f"the step of a validation must be >= 0, not {step}")
        if self._confirmed is not None:
            return self._confirmed
        if self._last_step is not None and step <= self._last_step:
            self._repeated = self._repeated or describe_repeat(step, self._last_step)
        self._last_step = step
        if self._repeated:
            return self._verdict(step, self._repeated)
        row = turn_up(self.metrics, values)
        known = not all(map(math.isnan, row))
        reported = any(name in values for name in self.metrics)
        self._watch_divergence(known, reported, loss)
        if self._diverged:
            return self._verdict(step, "diverged: the loss or every metric is not finite")
        if not known:
            return self._verdict(step, "no finite metric at this step")
        self._steps.append(int(step))
        self._rows.append(row)
        self._candidates.append(int(step))
        return self._judge(step)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values (numbers, strings, lists, dicts, None) for JSON."""
        return {
            "metrics": dict(self.metrics),
            "steps": list(self._steps),
            "values": [
                [None if math.isnan(value) else value for value in row] for row in self._rows
            ],
            "last_step": self._last_step,
            "candidates": list(self._candidates),
            "convinced": self._convinced,
            "silent": self._silent,
            "repeated": self._repeated,
            "diverged": self._diverged,
            "confirmed": None if self._confirmed is None else dataclasses.asdict(self._confirmed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state of `state_dict()`; the verdicts continue as if nothing had happened.

        Raises:
            ValueError: If the state has other metrics or directions.
        """
        if list(state["metrics"].items()) != list(self.metrics.items()):
            raise ValueError(
                f"the checkpoint's knee watches the metrics {dict(state['metrics'])}, but this run "
                f"watches {self.metrics}: set the same metrics of the knee callback"
            )
        self._steps = list(state["steps"])
        self._rows = [
            [math.nan if value is None else value for value in row] for row in state["values"]
        ]
        self._last_step = state["last_step"]
        self._candidates = list(state["candidates"])
        self._convinced = state.get("convinced", 0)
        self._silent = state["silent"]
        self._repeated = state.get("repeated", "")
        self._diverged = state["diverged"]
        confirmed = state["confirmed"]
        self._confirmed = None if confirmed is None else KneeVerdict.from_plain(confirmed)

    def forget(self, steps: Collection[int]) -> None:
        """Stop proposing some candidates, because their checkpoints are lost."""
        self._candidates = [step for step in self._candidates if step not in steps]

    def _watch_divergence(self, known: bool, reported: bool, loss: float | None) -> None:
        """Update whether the run has diverged.

        Args:
            known: Whether any metric is finite.
            reported: Whether any metric was reported, finite or not.
            loss: The loss, None if unknown.
        """
        if known or (loss is not None and math.isfinite(loss)):
            self._silent = 0
        elif reported:
            self._silent += 1
        if (loss is not None and not math.isfinite(loss)) or self._silent >= SILENT_LIMIT:
            self._diverged = True

    def _verdict(self, step: int, reason: str, **known: Any) -> KneeVerdict:
        """Return a verdict whose fields are unknown unless they are given."""
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
        return KneeVerdict(
            **(fields | known),
            step=int(step),
            candidates=tuple(self._candidates),
            diverged=self._diverged,
            reason=reason,
        )

    def _judge(self, step: int) -> KneeVerdict:
        """Judge all validations so far, and drop checkpoints that are not needed any more."""
        run = MeasuredRun.of(self.metrics, self._steps, self._rows)
        fault = find_fault(list(self.metrics), self._steps, self._rows)
        if run.consensus is None:
            self._convinced = 0
            self._thin(run.time, run.elapsed, run.elapsed)
            reason = fault or "no metric has risen above its noise yet"
            return self._verdict(step, reason, per_metric=run.per_metric)
        features = describe(run.time, run.normalised, run.consensus, run.half)
        estimate = self._ensemble.estimate(features)
        index = np.searchsorted(self._steps, self._candidates)
        chances = estimate.passes(run.time[index] / run.elapsed)
        chosen = int(np.argmax(chances))
        candidate = self._candidates[chosen]
        probability = float(chances[chosen])
        count = len(self._steps)
        start = step - run.elapsed
        found = {
            "candidate_step": candidate,
            "consensus": run.consensus.newest,
            "per_metric": run.per_metric,
            "confidence": probability,
            **forecast(estimate, probability, run.per_metric, count, run.elapsed, start),
        }
        obstacle = fault or find_obstacle(
            run.time, int(index[chosen]), probability, wait=self.wait, confidence=self.confidence
        )
        obstacle = obstacle or why_not_flat(run.time, run.consensus)
        self._convinced = 0 if obstacle else self._convinced + 1
        if not obstacle and self._convinced < PERSISTENCE:
            obstacle = "the conditions must hold once more at the next validation"
        if not obstacle and step < self.min_step:
            obstacle = f"min_step {self.min_step} not reached"
        if not obstacle:
            return self._confirm(step, candidate, found)
        best = float(run.time[np.argmax(estimate.passes(run.time / run.elapsed))])
        earliest = (estimate.knee_quantile(EARLIEST) or 1.0) * run.elapsed
        self._thin(run.time, min(earliest, best), best)
        if probability > LIKELY and not fault and candidate in self._candidates:
            found["provisional_step"] = candidate
        return self._verdict(step, obstacle, **found)

    def _confirm(self, step: int, candidate: int, found: dict[str, Any]) -> KneeVerdict:
        """Confirm the candidate at a step; its checkpoint is the only one that is still needed."""
        self._candidates = [candidate]
        reason = (
            f"confirmed: 95 % of the fast gain is made at step {candidate:,} or close to it, "
            f"with a probability of {in_percent(found['confidence'])}"
        )
        self._confirmed = self._verdict(
            step, reason, knee_step=candidate, confirmed_at_step=int(step), **found
        )
        return self._confirmed

    def _thin(self, time: Array, earliest: float, best: float) -> None:
        """Drop kept steps until at most `max_candidates` are left.

        Args:
            time: `(n,)` times of the validations.
            earliest: Time before which the knee is unlikely.
            best: Time that passes as the knee with the highest probability.
        """
        while len(self._candidates) > self.max_candidates:
            kept = time[np.searchsorted(self._steps, self._candidates)]
            del self._candidates[step_to_drop(kept, earliest, best)]
