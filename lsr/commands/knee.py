"""`lsr knee`: replay the knee detector over a logged run and report the knee."""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.commands.knee_options import FIGURE, LOSSES, parser
from lsr.errors import DONE

if TYPE_CHECKING:
    from lsr.knee.replay import Replay
    from lsr.runs.history import RunLog


def _benchmark(options: argparse.Namespace) -> str:
    """Return the scores of the detector and of other rules on simulated runs, as text or JSON."""
    from lsr.knee.benchmark import benchmark_in_words, run_benchmark

    if options.curves < 1:
        raise ValueError(f"--curves {options.curves}: at least one simulated run is needed")
    report = run_benchmark(options.seed, options.curves)
    if options.json:
        return json.dumps(report, indent=2, allow_nan=False) + "\n"
    return benchmark_in_words(report)


def _report(
    options: argparse.Namespace, log: "RunLog", metrics: dict[str, str], loss: str | None
) -> tuple["Replay", dict[str, Any]]:
    """Replay the detector and write the figure if it is asked for.

    Args:
        options: The options of the command line.
        log: The scalars of the run.
        metrics: Direction of each metric, `"max"` or `"min"`.
        loss: Name of the training loss, None if the log has none.

    Returns:
        The replay, and everything that is printed, as plain values.
    """
    from lsr.knee.provisional import read_provisional
    from lsr.knee.replay import advice_for, other_rules, replay
    from lsr.models.attention_health import HEADROOM

    history = log.validations(metrics, loss, HEADROOM)
    if history[0].step < 0:
        raise ValueError(
            f"{log.files[0]}: the {log.step_name} {history[0].step} of a validation is negative; "
            "count from 0 or 1"
        )
    whole = replay(history, metrics, options.min_step)
    folder = options.path if options.path.is_dir() else options.path.parent
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
        "revisions": list(whole.revisions),
        "provisional": read_provisional(folder / "knee"),
        "advice": advice_for(whole.verdict, whole.per_metric, history),
    }
    if options.compare:
        report["compare"] = other_rules(history, metrics)
    if options.leave_one_out:
        report["leave_one_out"] = _leave_one_out(log, metrics, loss, options.min_step)
    if options.png is not None:
        from lsr.figures import save_png
        from lsr.knee.plot import draw_knee

        target = Path(options.png) if options.png else folder / FIGURE
        save_png(draw_knee(history, whole.verdict, metrics), target)
        report["png"] = str(target)
    return whole, report


def _leave_one_out(
    log: "RunLog", metrics: Mapping[str, str], loss: str | None, min_step: int
) -> list[dict[str, Any]]:
    """Replay the detector without each metric in turn; a single metric gives an empty list."""
    from lsr.knee.replay import replay

    if len(metrics) < 2:
        return []
    results = []
    for name in metrics:
        others = {other: way for other, way in metrics.items() if other != name}
        verdict = replay(log.validations(others, loss), others, min_step).verdict
        results.append(
            {
                "without": name,
                "knee_step": verdict.knee_step,
                "confirmed_at_step": verdict.confirmed_at_step,
                "reason": verdict.reason,
            }
        )
    return results


def _in_words(whole: "Replay", report: Mapping[str, Any], guessed: bool) -> str:
    """Return the report as text.

    Args:
        whole: The replay.
        report: See `_report`.
        guessed: Whether the metrics were not chosen but known by name.
    """
    from lsr.knee.words import describe_verdict, in_unit

    unit = report["step_name"]
    first, *others = (in_unit(line, unit) for line in describe_verdict(whole.verdict, unit))
    lines = [*_source(report, guessed), "", first, *(f"  {line}" for line in others)]
    if report["provisional"] is not None:
        step = report["provisional"]["step"]
        weights = report["provisional"]["weights"]
        lines.append(f"  knee/provisional.json of the run: step {step:,}, weights in {weights}")
    if "compare" in report:  # before the lines of the provisional knee, of which there may be many
        lines += ["", *_comparison(report)]
    revisions = [in_unit(line, unit) for line in whole.revisions]
    lines += ["", *revisions, ""] if revisions else [""]
    rows = [
        (name, _ratio(record["noise_to_gain"]), _step(record["knee_step"]), record["reason"])
        for name, record in report["per_metric"].items()
    ]
    lines += _table(("metric", "noise/gain", "95 % of its rise", "verdict"), rows)
    if report["advice"]:
        lines += ["", *report["advice"]]
    if "leave_one_out" in report:
        rows = [
            (
                r["without"],
                _step(r["knee_step"]),
                _step(r["confirmed_at_step"]),
                in_unit(r["reason"], unit),
            )
            for r in report["leave_one_out"]
        ]
        table = _table(("without", "knee", "confirmed", "verdict"), rows)
        lines += ["", *(table if rows else ["leaving one out needs two metrics"])]
    if "png" in report:
        lines += ["", f"figure: {report['png']}"]
    return "\n".join(lines) + "\n"


def _source(report: Mapping[str, Any], guessed: bool) -> list[str]:
    """Return the lines that name the files, the validations, the metrics and the loss."""
    files = report["files"]
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    steps = f"{report['step_name']} {report['first_step']:,} to {report['last_step']:,}"
    metrics = ", ".join(f"{name}:{way}" for name, way in report["metrics"].items())
    how = " (known by name)" if guessed else ""
    return [
        f"{files[0]}{more}: {report['validations']} validations, {steps}",
        f"metrics{how}: {metrics}; loss: {report['loss'] or 'none'}",
    ]


def _comparison(report: Mapping[str, Any]) -> list[str]:
    """Return the table that compares the detector with early stopping and the best checkpoint."""
    rows = [
        ("knee detector", "all", _step(report["knee_step"]), _step(report["confirmed_at_step"]))
    ]
    rows += [
        (r["rule"], r["metric"], _step(r["picked_step"]), _step(r["stopped_at_step"]))
        for r in report["compare"]
    ]
    return _table(("rule", "metric", "picks", "ends at"), rows)


def _step(step: int | None) -> str:
    return "-" if step is None else f"{step:,}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1%}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table: columns of numbers are aligned right, columns of text left."""
    columns = []
    for title, *cells in zip(head, *rows, strict=True):
        width = max(map(len, (title, *cells)))
        numbers = all(re.fullmatch(r"-|[\d,.]+%?", cell) for cell in cells)
        columns.append(
            [cell.rjust(width) if numbers else cell.ljust(width) for cell in (title, *cells)]
        )
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def main(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code."""
    options = parser().parse_args(arguments[1:])
    if options.benchmark:
        sys.stdout.write(_benchmark(options))
        return DONE
    if options.path is None:
        raise ValueError("needs the PATH of a log, or --benchmark")
    if options.png and not options.png.lower().endswith(".png"):
        raise ValueError(f"--png {options.png}: the name of the figure must end in .png")

    from lsr.knee.replay import guess_metrics, parse_metrics
    from lsr.runs.history import RunLog

    chosen = None if options.metrics is None else parse_metrics(options.metrics)
    try:
        log = RunLog.read(options.path)
        metrics = chosen or guess_metrics(log.scalars)
        if not metrics:
            raise ValueError(
                f"{options.path}: no curve has the name of a known metric; choose curves with "
                f"--metrics NAME:max or NAME:min among {', '.join(sorted(log.scalars))}"
            )
        loss = options.loss or next((name for name in LOSSES if name in log.scalars), None)
        whole, report = _report(options, log, metrics, loss)
    except OSError as error:
        raise ValueError(str(error)) from error
    sys.stdout.write(
        json.dumps(report, indent=2, allow_nan=False) + "\n"
        if options.json
        else _in_words(whole, report, chosen is None)
    )
    return DONE
