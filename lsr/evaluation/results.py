"""Collect, compare and write the results of an evaluation: tables, summary, report and pictures."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsr.errors import DONE, SOME_FAILED
from lsr.evaluation.available import AvailableMetrics
from lsr.evaluation.comparison import compare, in_words
from lsr.evaluation.contact_sheet import extremes, write_contact_sheet
from lsr.evaluation.data import digest_of_photographs
from lsr.evaluation.method_result import ABSENT, MethodResult, collect_other, collect_ours
from lsr.evaluation.per_image import write_csv
from lsr.evaluation.report import write_markdown_report
from lsr.evaluation.scoring import Job
from lsr.evaluation.summary import CONVENTIONS
from lsr.files import write_json
from lsr.metrics.cards import CARDS
from lsr.report.at_end import report_at_end
from lsr.runs.machine import hardware

Comparisons = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Results of `lsr.evaluation.comparison.compare`, by method and by metric."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation of one method and of the methods that it is compared with.

    Attributes:
        job: Job of the evaluated method.
        others: Jobs of the other methods, by name.
        settings: Settings that all rows of `job` have in common, contents of `evaluation.json`.
        metrics: Available and unavailable metrics.
        metrics_named: Whether the metrics were requested by name, so that an unavailable metric
            counts as a failure.
        data: Folder of the photographs.
        predictions: Folder of the evaluated predictions; None if a model makes the results.
        command: Command line that repeats the evaluation.
    """

    job: Job
    others: Mapping[str, Job]
    settings: Mapping[str, Any]
    metrics: AvailableMetrics
    metrics_named: bool
    data: Path
    predictions: Path | None
    command: str


def write_results(evaluation: Evaluation) -> int:
    """Collect the results of all methods, compare them, and write all files.

    The files are `per_image.csv`, `summary.json`, `report.md`, `report.html` and `contact.png`.

    Args:
        evaluation: An evaluation of which every image has been processed.

    Returns:
        The exit code.
    """
    ours = collect_ours(
        evaluation.job, f"{evaluation.predictions}: {ABSENT}", "fid" in evaluation.metrics.cards
    )
    others = [collect_other(name, job, ours) for name, job in evaluation.others.items()]
    comparisons = {other.name: compare(ours, other) for other in others}
    summary = _summary(evaluation, ours, others, comparisons)
    _write(ours, others, summary)
    _print(summary, ours.job.out / "report.md")
    report_at_end(ours.job.out, "eval")
    return _exit_code(evaluation, summary)


def _summary(
    evaluation: Evaluation,
    ours: MethodResult,
    others: Sequence[MethodResult],
    comparisons: Comparisons,
) -> dict[str, Any]:
    """Return the contents of `summary.json`."""
    job = evaluation.job
    return {
        "source": f"Evaluation of {job.model or evaluation.predictions}",
        "protocol": evaluation.settings["protocol"],
        "data": str(evaluation.data),
        "photographs": digest_of_photographs(job.items),
        "images": {"found": len(job.items), "scored": len(ours.rows)},
        "results": ours.means_and_intervals(),
        "beside": comparisons,
        "missing_beside": {other.name: other.missing() for other in others if other.missing()},
        "unavailable": evaluation.metrics.unavailable,
        "failed": ours.failed,
        "without_value": ours.without_value(),
        "conventions": CONVENTIONS,
        "metrics": evaluation.metrics.cards,
        "model": evaluation.settings["model"],
        "versions": evaluation.settings["versions"],
        "hardware": hardware(job.device),
        "threads": job.threads,
        "command": evaluation.command,
    }


def _write(ours: MethodResult, others: Sequence[MethodResult], summary: Mapping[str, Any]) -> None:
    """Write all files; the tables of other methods have all their rows, compared or not."""
    for result in (*others, ours):
        write_csv(result.job.out, result.rows, ours.job.metrics)
    pictured = _draw_extremes(ours, others)
    write_markdown_report(ours.job.out, summary, pictured)
    write_json(ours.job.out / "summary.json", summary)


def _draw_extremes(ours: MethodResult, others: Sequence[MethodResult]) -> str | None:
    """Draw the contact sheet by the first metric that has values.

    Returns:
        The metric; None if no metric has values.
    """
    results = {
        other.name: {item.name: item for item in other.comparable_items()} for other in others
    }
    for metric in ours.job.metrics:
        values = [row[metric] for row in ours.rows]
        drawn = []
        for role, index in extremes(values, CARDS[metric].higher_is_better):
            item = ours.items[index]
            caption = f"{role}: {item.name}, {metric} {values[index]:.4f}"
            same_image = {
                method: items[item.name] for method, items in results.items() if item.name in items
            }
            drawn.append((caption, item, same_image))
        if drawn:
            write_contact_sheet(ours.job.out / "contact.png", drawn)
            return metric
    return None


def _print(summary: Mapping[str, Any], report: Path) -> None:
    """Print failures to stderr, and means and comparisons to stdout."""
    for name, reason in summary["failed"].items():
        sys.stderr.write(f"failed: {name}: {reason}\n")
    for method, reasons in summary["missing_beside"].items():
        for name, reason in reasons.items():
            sys.stderr.write(f"failed: {name}, method {method}: {reason}\n")
    for metric, result in summary["results"].items():
        sys.stdout.write(f"{metric:<13} {_mean_in_words(result)}\n")
    for method, comparison in summary["beside"].items():
        for metric, compared in comparison.items():
            if compared["difference"] is not None:
                sys.stdout.write(f"{metric:<13} {in_words(compared)}, compared with {method}\n")
    images = summary["images"]
    sys.stdout.write(f"{images['scored']} of {images['found']} images scored: {report}\n")


def _mean_in_words(result: Mapping[str, Any]) -> str:
    """Return mean, interval and number of images, such as `26.6436  [25.4170, 28.6337]  n 3`."""
    value = "no value" if result["mean"] is None else f"{result['mean']:.4f}"
    interval = ""
    if result["ci95"] is not None:
        low, high = result["ci95"]
        interval = f"  [{low:.4f}, {high:.4f}]"
    return f"{value}{interval}  n {result['n']}"


def _exit_code(evaluation: Evaluation, summary: Mapping[str, Any]) -> int:
    """Return the exit code: `SOME_FAILED` if anything that was requested is missing."""
    if summary["failed"] or summary["missing_beside"] or not evaluation.metrics.cards:
        return SOME_FAILED
    # A default metric may be unavailable, because nobody requested it.
    if evaluation.metrics_named and (summary["unavailable"] or summary["without_value"]):
        return SOME_FAILED
    return DONE
