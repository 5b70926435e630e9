"""`lsr knee`: what the knee detector would have said during a run that is logged."""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.exit_codes import DONE

if TYPE_CHECKING:
    from lsr.knee import KneeVerdict
    from lsr.knee_history import RunLog, Validation

DIRECTIONS = {
    **dict.fromkeys(("maniqa", "musiq", "clipiqa", "psnr", "ssim"), "max"),
    **dict.fromkeys(("niqe", "lpips", "dists", "brisque"), "min"),
}
"""Metrics that are known by name, and which way is better."""

_NOT_A_QUALITY = frozenset({"bicubic", "train", "smoothed"})
_LOSSES = ("train/loss", "train_loss", "loss")
_PATIENCES = (5, 10)
_NOISE_LIMIT = 0.05
_VALIDATIONS_BEFORE = 12
_FIGURE = "knee.png"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr knee",
        description="Replay the knee detector over a logged run: where is the knee, when was it confirmed, and if there is none, why not. "
        "Exit code 0 whether there is a knee or not.",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="run folder, TensorBoard event file, or CSV file with a step column")
    parser.add_argument("--metrics", metavar="a:max,b:min", help="metrics and which way is better (default: those known by name)")
    parser.add_argument("--loss", metavar="NAME", help=f"training loss (default: the first of {', '.join(_LOSSES)} that is there)")
    parser.add_argument("--min-step", type=int, default=0, metavar="N", help="no confirmation before this step (default 0)")
    parser.add_argument("--compare", action="store_true", help="also tell what EarlyStopping and the best checkpoint would have picked")
    parser.add_argument("--leave-one-out", action="store_true", help="also replay without each of the metrics")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("--png", nargs="?", const="", metavar="FILE", help=f"draw the curves (without FILE: {_FIGURE} beside the source)")
    return parser


def guess_metrics(names: Iterable[str]) -> dict[str, str]:
    """Return the directions of the quality metrics among the names, those of validation alone when there are any.

    Baselines (`val/psnr_y_bicubic`), training metrics and the detector's own smoothed curves do not count.
    """
    words = {name: set(re.findall(r"[a-z]+", name.lower())) for name in names}
    found = {name: way for name in words if (way := _known_direction(name)) and not words[name] & _NOT_A_QUALITY}
    validation = {name: way for name, way in found.items() if words[name] & {"val", "valid", "validation"}}
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
            raise ValueError(f"--metrics: {part} is not a metric with its direction, as in val/musiq:max or val/niqe:min")
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

    verdict: "KneeVerdict"
    per_metric: dict[str, dict[str, Any]]


def replay(history: Sequence["Validation"], metrics: Mapping[str, str], min_step: int = 0) -> Replay:
    """Feed a non-empty history to a fresh detector, point by point, until it has made up its mind."""
    from lsr.knee import KneeDetector

    detector = KneeDetector(metrics, min_step=min_step)
    known: dict[str, dict[str, Any]] = {}
    for validation in history:
        verdict = detector.update(validation.step, validation.values, validation.loss)
        if not known or any(record["gain"] is not None for record in verdict.per_metric.values()):
            known = verdict.per_metric
        if verdict.knee_step is not None or verdict.diverged:
            break
    return Replay(verdict, known)


def early_stopping(curve: Sequence[tuple[int, float]], direction: str, patience: int | None) -> tuple[int | None, int | None]:
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


def _rivals(history: Sequence["Validation"], metrics: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the usual rules would have picked, on each metric."""
    rows = []
    for name, direction in metrics.items():
        curve = [(v.step, v.values[name]) for v in history if name in v.values]
        for patience in (*_PATIENCES, None):
            picked, stopped = early_stopping(curve, direction, patience)
            rule = "best checkpoint at the end" if patience is None else f"EarlyStopping(patience={patience})"
            rows.append({"rule": rule, "metric": name, "picked_step": picked, "stopped_at_step": stopped})
    return rows


def _advice(verdict: "KneeVerdict", per_metric: Mapping[str, Mapping[str, Any]], history: Sequence["Validation"]) -> list[str]:
    advice = []
    noisy = {name: record["noise_to_gain"] for name, record in per_metric.items() if (record["noise_to_gain"] or 0) > _NOISE_LIMIT}
    if noisy:
        # The noise of a mean falls with the root of the number of images.
        times = math.ceil((max(noisy.values()) / _NOISE_LIMIT) ** 2)
        advice.append(
            f"noise above {_NOISE_LIMIT:.0%} of the gain in {', '.join(noisy)}: add validation images (about {times} times as many), "
            "and fix images, metric seeds and sampler noise"
        )
    before = sum(v.step <= (verdict.knee_step or 0) for v in history)
    if verdict.knee_step is not None and before < _VALIDATIONS_BEFORE:
        advice.append(f"only {before} validations up to the knee: with {_VALIDATIONS_BEFORE} or more it is found more precisely")
    return advice


def _report(options: argparse.Namespace, log: "RunLog", metrics: dict[str, str], loss: str | None) -> dict[str, Any]:
    """Replay and gather everything that is printed, as plain values; write the figure."""
    history = log.validations(metrics, loss)
    whole = replay(history, metrics, options.min_step)
    report = asdict(whole.verdict) | {
        "files": [str(file) for file in log.files],
        "step_name": log.step_name,
        "validations": len(history),
        "first_step": history[0].step,
        "last_step": history[-1].step,
        "metrics": metrics,
        "loss": loss,
        "min_step": options.min_step,
        "per_metric": whole.per_metric,
        "advice": _advice(whole.verdict, whole.per_metric, history),
    }
    if options.compare:
        report["compare"] = _rivals(history, metrics)
    if options.leave_one_out:
        rest = {name: {other: way for other, way in metrics.items() if other != name} for name in metrics} if len(metrics) > 1 else {}
        without = {name: replay(log.validations(others, loss), others, options.min_step).verdict for name, others in rest.items()}
        report["leave_one_out"] = [
            {"without": name, "knee_step": v.knee_step, "confirmed_at_step": v.confirmed_at_step, "reason": v.reason}
            for name, v in without.items()
        ]
    if options.png is not None:
        from lsr.figures import save_png
        from lsr.knee_plot import draw_knee

        folder = options.path if options.path.is_dir() else options.path.parent
        target = Path(options.png) if options.png else folder / _FIGURE
        save_png(draw_knee(history, whole.verdict, metrics), target)
        report["png"] = str(target)
    return report


def _in_words(report: Mapping[str, Any], guessed: bool) -> str:
    files, unit = report["files"], report["step_name"]
    lines = [
        f"{files[0]}{f' and {len(files) - 1} more' if len(files) > 1 else ''}: {report['validations']} validations, "
        f"{unit} {report['first_step']:,} to {report['last_step']:,}",
        f"metrics{' (known by name)' if guessed else ''}: {', '.join(f'{name}:{way}' for name, way in report['metrics'].items())}; "
        f"loss: {report['loss'] or 'none'}",
        "",
    ]
    if report["knee_step"] is not None:
        lines.append(f"knee at {unit} {report['knee_step']:,}, confirmed at {unit} {report['confirmed_at_step']:,}")
    else:
        lines.append(f"no knee by {unit} {report['step']:,}")
        if report["candidate_step"] is not None:
            lines.append(f"  candidate: {unit} {report['candidate_step']:,} ({report['confidence']:.0%} sure)")
    rows = [(name, _ratio(r["noise_to_gain"]), _step(r["knee_step"]), r["reason"]) for name, r in report["per_metric"].items()]
    lines += [f"  {report['reason']}", "", *_table(("metric", "noise/gain", "95 % of its rise", "verdict"), rows)]
    if report["advice"]:
        lines += ["", *report["advice"]]
    if "compare" in report:
        rows = [("knee detector", "all", _step(report["knee_step"]), _step(report["confirmed_at_step"]))]
        rows += [(r["rule"], r["metric"], _step(r["picked_step"]), _step(r["stopped_at_step"])) for r in report["compare"]]
        lines += ["", *_table(("rule", "metric", "picks", "ends at"), rows)]
    if "leave_one_out" in report:
        rows = [(r["without"], _step(r["knee_step"]), _step(r["confirmed_at_step"]), r["reason"]) for r in report["leave_one_out"]]
        lines += ["", *(_table(("without", "knee", "confirmed", "verdict"), rows) if rows else ["leaving one out needs two metrics"])]
    if "png" in report:
        lines += ["", f"figure: {report['png']}"]
    return "\n".join(lines) + "\n"


def _step(step: int | None) -> str:
    return "-" if step is None else f"{step:,}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1%}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align columns: numbers to the right, words to the left."""
    columns = []
    for title, *cells in zip(head, *rows, strict=True):
        width = max(map(len, (title, *cells)))
        numbers = all(re.fullmatch(r"-|[\d,.]+%?", cell) for cell in cells)
        columns.append([cell.rjust(width) if numbers else cell.ljust(width) for cell in (title, *cells)])
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    if options.png and not options.png.lower().endswith(".png"):
        raise ValueError(f"--png {options.png}: the name of the figure must end in .png")

    from lsr.knee_history import RunLog

    chosen = None if options.metrics is None else parse_metrics(options.metrics)
    try:
        log = RunLog.read(options.path)
        metrics = chosen or guess_metrics(log.scalars)
        if not metrics:
            raise ValueError(f"{options.path}: no metric is known by name; choose with --metrics among {', '.join(sorted(log.scalars))}")
        loss = options.loss or next((name for name in _LOSSES if name in log.scalars), None)
        report = _report(options, log, metrics, loss)
    except OSError as error:
        raise ValueError(str(error)) from error
    sys.stdout.write(json.dumps(report, indent=2, allow_nan=False) + "\n" if options.json else _in_words(report, chosen is None))
    return DONE
