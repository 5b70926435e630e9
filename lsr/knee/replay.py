"""Replay the knee detector over a logged run, and compare it with other stopping rules."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lsr.knee.detector import KneeDetector
from lsr.knee.provisional import revise
from lsr.knee.verdict import KneeVerdict
from lsr.runs.history import Validation

DIRECTIONS = {
    **dict.fromkeys(("maniqa", "musiq", "clipiqa", "psnr", "ssim"), "max"),
    **dict.fromkeys(("niqe", "lpips", "dists", "brisque"), "min"),
}
"""Direction of the metrics that are known by name: `"max"` means that more is better."""
# Words in the names of scalars that do not measure the model on validation images.
_NOT_A_QUALITY = frozenset({"bicubic", "train", "smoothed"})
_PATIENCES = (5, 10)
_NOISE_LIMIT = 0.05
"""Noise above this fraction of the gain moves the knee."""
_MOST_TIMES = 20
_VALIDATIONS_BEFORE = 12
"""Number of validations up to the knee with which it is found precisely."""


def guess_metrics(names: Iterable[str]) -> dict[str, str]:
    """Return the quality metrics among the names of logged scalars, with their directions.

    If some of them are validation metrics (`val/...`), only these are returned. Baselines
    (`val/psnr_y_bicubic`), training metrics and the smoothed curves of the detector are left out.
    """
    words = {name: set(re.findall(r"[a-z]+", name.lower())) for name in names}
    found: dict[str, str] = {}
    for name in words:
        direction = _known_direction(name)
        if direction is not None and not words[name] & _NOT_A_QUALITY:
            found[name] = direction
    validation_words = {"val", "valid", "validation"}
    validation = {name: way for name, way in found.items() if words[name] & validation_words}
    return validation or found


def _known_direction(name: str) -> str | None:
    words = re.findall(r"[a-z]+", name.lower())
    return next((way for metric, way in DIRECTIONS.items() if metric in words), None)


def parse_metrics(text: str) -> dict[str, str]:
    """Parse metrics with their directions, such as `a:max,b:min`.

    A metric that is known by name needs no direction.

    Raises:
        ValueError: If a direction is missing or is neither `max` nor `min`.
    """
    metrics = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        if ":" in part:
            name, _, direction = part.rpartition(":")
        else:
            name = part
            direction = _known_direction(part)
        if not name or direction not in ("max", "min"):
            raise ValueError(
                f"--metrics: {part} is not a metric with its direction, max or min: write "
                "NAME:DIRECTION, such as val/musiq:max or val/niqe:min"
            )
        metrics[name] = direction
    if not metrics:
        raise ValueError("--metrics: no metric given; write NAME:DIRECTION, such as val/musiq:max")
    return metrics


@dataclass(frozen=True)
class Replay:
    """The result of a detector that was fed with the validations of a logged run.

    Attributes:
        verdict: The final verdict: the confirmation, the divergence, or that of the last
            validation.
        per_metric: The last known entries of `KneeVerdict.per_metric`. They are kept here because
            the verdict of a divergence has none.
        revisions: One line for each change of the provisional knee.
    """

    verdict: KneeVerdict
    per_metric: dict[str, dict[str, Any]]
    revisions: tuple[str, ...]


def replay(
    history: Sequence[Validation], metrics: Mapping[str, str], min_step: int = 0, **settings: Any
) -> Replay:
    """Feed a new detector with the validations until it confirms a knee or the run has diverged.

    Args:
        history: Validations by increasing step, at least one.
        metrics: Direction of each metric, `"max"` or `"min"`.
        min_step: First step at which a knee may be confirmed.
        settings: Other arguments of `KneeDetector`.
    """
    detector = KneeDetector(metrics, min_step=min_step, **settings)
    known: dict[str, dict[str, Any]] = {}
    provisional = None
    revisions = []
    for validation in history:
        verdict = detector.update(validation.step, validation.values, validation.loss)
        provisional, change = revise(provisional, verdict)
        revisions += [change] if change else []
        if not known or verdict.has_judged:
            known = verdict.per_metric
        if verdict.knee_step is not None or verdict.diverged:
            break
    return Replay(verdict, known, tuple(revisions))


def early_stopping(
    curve: Sequence[tuple[int, float]], direction: str, patience: int | None
) -> tuple[int | None, int | None]:
    """Simulate Lightning's `EarlyStopping(patience, min_delta=0)`.

    Args:
        curve: Step and value of each validation.
        direction: Direction of the metric, `"max"` or `"min"`.
        patience: Number of validations in a row without a new best value after which training
            stops. A non-finite value stops it at once. None never stops.

    Returns:
        The step of the best checkpoint (None if no value was finite), and the step at which
        training stops (None if it does not stop).
    """
    sign = 1 if direction == "max" else -1
    best = -math.inf
    picked = None
    waited = 0
    for step, value in curve:
        if not math.isfinite(value):
            waited = patience or 0
        elif sign * value > best:
            best = sign * value
            picked = step
            waited = 0
        else:
            waited += 1
        if patience is not None and waited >= patience:
            return picked, step
    return picked, None


def other_rules(history: Sequence[Validation], metrics: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the steps that early stopping and the best checkpoint pick, for each metric."""
    rows = []
    for name, direction in metrics.items():
        curve = [(v.step, v.values[name]) for v in history if name in v.values]
        for patience in (*_PATIENCES, None):
            picked, stopped = early_stopping(curve, direction, patience)
            rule = f"EarlyStopping(patience={patience})"
            if patience is None:
                rule = "best checkpoint at the end"
            rows.append(
                {"rule": rule, "metric": name, "picked_step": picked, "stopped_at_step": stopped}
            )
    return rows


def advice_for(
    verdict: KneeVerdict, per_metric: Mapping[str, Mapping[str, Any]], history: Sequence[Validation]
) -> list[str]:
    """Return sentences of advice that would make the knee of this run more precise."""
    advice = []
    noisy = {
        name: record["noise_to_gain"]
        for name, record in per_metric.items()
        if (record["noise_to_gain"] or 0) > _NOISE_LIMIT
    }
    if noisy:
        # The noise of a mean over n images is proportional to 1 / sqrt(n).
        times = math.ceil((max(noisy.values()) / _NOISE_LIMIT) ** 2)
        many = f"about {times} times as many" if times <= _MOST_TIMES else "many more"
        advice.append(
            f"noise above {_NOISE_LIMIT:.0%} of the gain in {', '.join(noisy)}: add validation "
            f"images ({many}), and fix the images, the seeds of the metrics "
            "and the noise of the sampler"
        )
    before = sum(v.step <= (verdict.knee_step or 0) for v in history)
    if verdict.knee_step is not None and before < _VALIDATIONS_BEFORE:
        advice.append(
            f"only {before} validations up to the knee: with {_VALIDATIONS_BEFORE} or more it is "
            "found more precisely"
        )
    return advice
