"""`lsr knee`: what the knee detector would have said during a run that is logged."""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.exit_codes import DONE

if TYPE_CHECKING:
    from lsr.runs.history import RunLog


_LOSSES = ("train/loss", "train_loss", "loss")
_FIGURE = "knee.png"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr knee",
        description="Replay the knee detector over a logged run: where is the knee, when was it confirmed, and if there is none, why not. "
        "Exit code 0 whether there is a knee or not.",
    )
    parser.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="run folder, TensorBoard event file, or CSV file with a step column",
    )
    parser.add_argument(
        "--metrics",
        metavar="a:max,b:min",
        help="metrics and which way is better (default: those known by name)",
    )
    parser.add_argument(
        "--loss",
        metavar="NAME",
        help=f"training loss (default: the first of {', '.join(_LOSSES)} that is there)",
    )
    parser.add_argument(
        "--min-step",
        type=int,
        default=0,
        metavar="N",
        help="no confirmation before this step (default 0)",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also tell what EarlyStopping and the best checkpoint would have picked",
    )
    parser.add_argument(
        "--leave-one-out", action="store_true", help="also replay without each of the metrics"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of text"
    )
    parser.add_argument(
        "--png",
        nargs="?",
        const="",
        metavar="FILE",
        help=f"draw the curves (without FILE: {_FIGURE} beside the source)",
    )
    return parser


def _report(
    options: argparse.Namespace, log: "RunLog", metrics: dict[str, str], loss: str | None
) -> dict[str, Any]:
    """Replay and gather everything that is printed, as plain values; write the figure."""
    from lsr.knee.replay import advice_for, other_rules, replay

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
        "advice": advice_for(whole.verdict, whole.per_metric, history),
    }
    if options.compare:
        report["compare"] = other_rules(history, metrics)
    if options.leave_one_out:
        rest = (
            {
                name: {other: way for other, way in metrics.items() if other != name}
                for name in metrics
            }
            if len(metrics) > 1
            else {}
        )
        without = {
            name: replay(log.validations(others, loss), others, options.min_step).verdict
            for name, others in rest.items()
        }
        report["leave_one_out"] = [
            {
                "without": name,
                "knee_step": v.knee_step,
                "confirmed_at_step": v.confirmed_at_step,
                "reason": v.reason,
            }
            for name, v in without.items()
        ]
    if options.png is not None:
        from lsr.figures import save_png
        from lsr.knee.plot import draw_knee

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
        lines.append(
            f"knee at {unit} {report['knee_step']:,}, confirmed at {unit} {report['confirmed_at_step']:,}"
        )
    else:
        lines.append(f"no knee by {unit} {report['step']:,}")
        if report["candidate_step"] is not None:
            lines.append(
                f"  candidate: {unit} {report['candidate_step']:,} ({report['confidence']:.0%} sure)"
            )
    rows = [
        (name, _ratio(r["noise_to_gain"]), _step(r["knee_step"]), r["reason"])
        for name, r in report["per_metric"].items()
    ]
    lines += [
        f"  {report['reason']}",
        "",
        *_table(("metric", "noise/gain", "95 % of its rise", "verdict"), rows),
    ]
    if report["advice"]:
        lines += ["", *report["advice"]]
    if "compare" in report:
        rows = [
            ("knee detector", "all", _step(report["knee_step"]), _step(report["confirmed_at_step"]))
        ]
        rows += [
            (r["rule"], r["metric"], _step(r["picked_step"]), _step(r["stopped_at_step"]))
            for r in report["compare"]
        ]
        lines += ["", *_table(("rule", "metric", "picks", "ends at"), rows)]
    if "leave_one_out" in report:
        rows = [
            (r["without"], _step(r["knee_step"]), _step(r["confirmed_at_step"]), r["reason"])
            for r in report["leave_one_out"]
        ]
        lines += [
            "",
            *(
                _table(("without", "knee", "confirmed", "verdict"), rows)
                if rows
                else ["leaving one out needs two metrics"]
            ),
        ]
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
        columns.append(
            [cell.rjust(width) if numbers else cell.ljust(width) for cell in (title, *cells)]
        )
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
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
                f"{options.path}: no metric is known by name; choose with --metrics among {', '.join(sorted(log.scalars))}"
            )
        loss = options.loss or next((name for name in _LOSSES if name in log.scalars), None)
        report = _report(options, log, metrics, loss)
    except OSError as error:
        raise ValueError(str(error)) from error
    sys.stdout.write(
        json.dumps(report, indent=2, allow_nan=False) + "\n"
        if options.json
        else _in_words(report, chosen is None)
    )
    return DONE
