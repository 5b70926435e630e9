"""The knee detector over a history that is logged already, and what other rules would have picked."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lsr.knee.detector import KneeDetector, KneeVerdict
from lsr.runs.history import Validation

DIRECTIONS = {
    **dict.fromkeys(("maniqa", "musiq", "clipiqa", "psnr", "ssim"), "max"),
    **dict.fromkeys(("niqe", "lpips", "dists", "brisque"), "min"),
}
"""Metrics that are known by name, and which way is better."""
_NOT_A_QUALITY = frozenset({"bicubic", "train", "smoothed"})
_PATIENCES = (5, 10)
_NOISE_LIMIT = 0.05
_VALIDATIONS_BEFORE = 12


def guess_metrics(names: Iterable[str]) -> dict[str, str]:
    """Return the directions of the quality metrics among the names, those of validation alone when there are any.

    Baselines (`val/psnr_y_bicubic`), training metrics and the detector's own smoothed curves do not count.
    """
    words = {name: set(re.findall(r"[a-z]+", name.lower())) for name in names}
    found = {
        name: way
        for name in words
        if (way := _known_direction(name)) and not words[name] & _NOT_A_QUALITY
    }
    validation = {
        name: way for name, way in found.items() if words[name] & {"val", "valid", "validation"}
    }
    return validation or found


def _known_direction(name: str) -> str | None:
    words = re.findall(r"[a-z]+", name.lower())
    return next((way for metric, way in DIRECTIONS.items() if metric in words), None)


def parse_metrics(text: str) -> dict[str, str]:
    """Parse `a:max,b:min`; a metric that is known by name needs no direction.

    Raises:
        ValueError: A direction is missing or is neither `max` nor `min`.
    """
    metrics = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, way = part.rpartition(":")
        name, direction = (name, way) if colon else (part, _known_direction(part))
        if not name or direction not in ("max", "min"):
            raise ValueError(
                f"--metrics: {part} is not a metric with its direction, as in val/musiq:max or val/niqe:min"
            )
        metrics[name] = direction
    if not metrics:
        raise ValueError("--metrics: no metric given")
    return metrics


@dataclass(frozen=True)
class Replay:
    """A detector's way through a history.

    Attributes:
        verdict: The one that ended it: confirmation, divergence, or that of the last validation.
        per_metric: What was last known of each metric: a diverged verdict knows nothing any more.
    """

    verdict: KneeVerdict
    per_metric: dict[str, dict[str, Any]]


def replay(history: Sequence[Validation], metrics: Mapping[str, str], min_step: int = 0) -> Replay:
    """Feed a non-empty history to a fresh detector, point by point, until it has made up its mind."""
    detector = KneeDetector(metrics, min_step=min_step)
    known: dict[str, dict[str, Any]] = {}
    for validation in history:
        verdict = detector.update(validation.step, validation.values, validation.loss)
        if not known or any(record["gain"] is not None for record in verdict.per_metric.values()):
            known = verdict.per_metric
        if verdict.knee_step is not None or verdict.diverged:
            break
    return Replay(verdict, known)


def early_stopping(
    curve: Sequence[tuple[int, float]], direction: str, patience: int | None
) -> tuple[int | None, int | None]:
    """Return the best checkpoint under Lightning's `EarlyStopping(patience, min_delta=0)` and the step it stops at.

    Args:
        curve: Step and value of each validation.
        direction: `"max"` or `"min"`.
        patience: Validations in a row without a new best value after which training stops, as it does at a non-finite value; None never
            stops: the best checkpoint at the end.

    Returns:
        (step of the best value so far, step of the stop); None where there was no finite value, and no stop.
    """
    sign = 1 if direction == "max" else -1
    best, picked, waited = -math.inf, None, 0
    for step, value in curve:
        if not math.isfinite(value):
            waited = patience or 0
        elif sign * value > best:
            best, picked, waited = sign * value, step, 0
        else:
            waited += 1
        if patience is not None and waited >= patience:
            return picked, step
    return picked, None


def other_rules(history: Sequence[Validation], metrics: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what EarlyStopping and the best checkpoint would have picked, on each metric."""
    rows = []
    for name, direction in metrics.items():
        curve = [(v.step, v.values[name]) for v in history if name in v.values]
        for patience in (*_PATIENCES, None):
            picked, stopped = early_stopping(curve, direction, patience)
            rule = (
                "best checkpoint at the end"
                if patience is None
                else f"EarlyStopping(patience={patience})"
            )
            rows.append(
                {"rule": rule, "metric": name, "picked_step": picked, "stopped_at_step": stopped}
            )
    return rows


def advice_for(
    verdict: KneeVerdict, per_metric: Mapping[str, Mapping[str, Any]], history: Sequence[Validation]
) -> list[str]:
    """Return sentences on what would make this run's knee more precise."""
    advice = []
    noisy = {
        name: record["noise_to_gain"]
        for name, record in per_metric.items()
        if (record["noise_to_gain"] or 0) > _NOISE_LIMIT
    }
    if noisy:
        # The noise of a mean falls with the root of the number of images.
        times = math.ceil((max(noisy.values()) / _NOISE_LIMIT) ** 2)
        advice.append(
            f"noise above {_NOISE_LIMIT:.0%} of the gain in {', '.join(noisy)}: add validation images (about {times} times as many), "
            "and fix images, metric seeds and sampler noise"
        )
    before = sum(v.step <= (verdict.knee_step or 0) for v in history)
    if verdict.knee_step is not None and before < _VALIDATIONS_BEFORE:
        advice.append(
            f"only {before} validations up to the knee: with {_VALIDATIONS_BEFORE} or more it is found more precisely"
        )
    return advice
