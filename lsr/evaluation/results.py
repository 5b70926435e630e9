"""What an evaluation leaves for people and for scripts, once every image has been looked at."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lsr.evaluation.available import AvailableMetrics
from lsr.evaluation.beside import compare, in_words, of_other_sizes
from lsr.evaluation.contact_sheet import extremes, write_contact_sheet
from lsr.evaluation.data import Item
from lsr.evaluation.report import write_report
from lsr.evaluation.rows import read_failures, read_rows, write_csv
from lsr.evaluation.scoring import Job
from lsr.evaluation.summary import CONVENTIONS, hardware, statistics
from lsr.exit_codes import DONE, SOME_FAILED
from lsr.files import write_json
from lsr.metrics.cards import CARDS
from lsr.metrics.fid import FrechetInceptionDistance

_ABSENT = "no prediction of this name"


def write_results(
    job: Job,
    beside: Mapping[str, Job],
    settings: Mapping[str, Any],
    metrics: AvailableMetrics,
    data: Path,
    predictions: Path | None,
    command: str,
    named: bool,
) -> int:
    """Write `per_image.csv`, `summary.json`, `report.md` and `contact.png`, and say what came out.

    Args:
        job: The evaluation.
        beside: Those of other methods, by name.
        settings: What all rows have in common.
        metrics: Those that were computed, and why others were not.
        data: Where the photographs are.
        predictions: Where the results were; None if a model made them.
        command: How to get all this again.
        named: Whether the metrics were asked for by name.

    Returns:
        The exit code.
    """
    scored, rows = _scored(job)
    failed = _failures(job, job.items, scored, f"{predictions}: {_ABSENT}")
    others = {name: _scored(other) for name, other in beside.items()}
    unlike = {name: of_other_sizes(rows, theirs) for name, (_, theirs) in others.items()}
    alike = {
        name: (
            [item for item in items if item.name not in unlike[name]],
            [row for row in theirs if row["name"] not in unlike[name]],
        )
        for name, (items, theirs) in others.items()
    }
    missing = {
        name: these
        for name, other in beside.items()
        if (these := _failures(other, scored, others[name][0], _ABSENT) | unlike[name])
    }
    comparisons = {name: compare(rows, theirs, job.metrics) for name, (_, theirs) in alike.items()}
    without_value = {
        row["name"]: these
        for row in rows
        if (these := [name for name in job.metrics if math.isnan(row[name])])
    }
    results = {name: statistics([row[name] for row in rows]) for name in job.metrics}
    if "fid" in metrics.cards:
        results["fid"] = _fid(job, scored)
        for name, (items, _) in alike.items():
            same = [item.name for item in items] == [item.name for item in scored]
            fid = _fid(
                beside[name], items if same else []
            )  # those of different sets do not compare
            unpaired = {"difference": None, "ci95": None, "n": fid["n"], "better_in": None}
            comparisons[name]["fid"] = {"mean": fid["mean"], "mean_n": fid["n"]} | unpaired
    summary = {
        "source": f"Evaluation of {job.model or predictions}",
        "protocol": settings["protocol"],
        "data": str(data),
        "images": {"found": len(job.items), "scored": len(rows)},
        "results": results,
        "beside": comparisons,
        "missing_beside": missing,
        "unavailable": metrics.unavailable,
        "failed": failed,
        "without_value": without_value,
        "conventions": CONVENTIONS,
        "metrics": metrics.cards,
        "model": settings["model"],
        "versions": settings["versions"],
        "hardware": hardware(job.device),
        "threads": job.threads,
        "command": command,
    }
    for name, (_, theirs) in others.items():
        write_csv(beside[name].out, theirs, job.metrics)
    write_csv(job.out, rows, job.metrics)
    pictured = _draw(
        job,
        scored,
        rows,
        {name: {item.name: item for item in items} for name, (items, _) in alike.items()},
    )
    write_report(job.out, summary, pictured)
    write_json(job.out / "summary.json", summary)
    _say(summary, job.out)
    return (
        SOME_FAILED
        if failed
        or missing
        or not metrics.cards
        or (named and (metrics.unavailable or without_value))
        else DONE
    )


def _scored(job: Job) -> tuple[list[Item], list[dict[str, Any]]]:
    """Return the images that have a row, and the rows, both in the order of the job's items."""
    done = read_rows(job.out, job.items)
    scored = [item for item in job.items if item.name in done]
    return scored, [done[item.name] for item in scored]


def _failures(
    job: Job, wanted: Sequence[Item], scored: Sequence[Item], absent: str
) -> dict[str, str]:
    """Return why a job has no row of images that are wanted, by name; `absent` is that of a result that is not there."""
    reasons, done = read_failures(job.out), {item.name for item in scored}
    names = {item.name for item in wanted} - done
    return {
        item.name: absent if item.sr is None else reasons[item.name]
        for item in job.items
        if item.name in names
    }


def _fid(job: Job, scored: Sequence[Item]) -> dict[str, Any]:
    pairs = [(item.sr, item.hr) for item in scored if item.sr is not None and item.hr is not None]
    value = None
    if len(pairs) > 1:
        sr, hr = zip(*pairs, strict=True)
        value = FrechetInceptionDistance(job.weights)(sr, hr, torch.device(job.device))
    return {"n": len(pairs), "mean": value, "std": None, "ci95": None}


def _draw(
    job: Job,
    scored: Sequence[Item],
    rows: Sequence[Mapping[str, Any]],
    others: Mapping[str, Mapping[str, Item]],
) -> str | None:
    """Draw the contact sheet by the first metric that has values; returns that metric."""
    for name in job.metrics:
        places = extremes([row[name] for row in rows], CARDS[name].higher_is_better)
        if places:
            captioned = [
                (
                    f"{word}: {scored[i].name}, {name} {rows[i][name]:.4f}",
                    scored[i],
                    {
                        method: items[scored[i].name]
                        for method, items in others.items()
                        if scored[i].name in items
                    },
                )
                for word, i in places
            ]
            write_contact_sheet(job.out / "contact.png", captioned)
            return name
    return None


def _say(summary: Mapping[str, Any], out: Path) -> None:
    for name, reason in summary["failed"].items():
        sys.stderr.write(f"failed: {name}: {reason}\n")
    for method, these in summary["missing_beside"].items():
        for name, reason in these.items():
            sys.stderr.write(f"failed: {name}, beside {method}: {reason}\n")
    for name, result in summary["results"].items():
        value = "no value" if result["mean"] is None else f"{result['mean']:.4f}"
        interval = (
            ""
            if result["ci95"] is None
            else f"  [{result['ci95'][0]:.4f}, {result['ci95'][1]:.4f}]"
        )
        sys.stdout.write(f"{name:<13} {value}{interval}  n {result['n']}\n")
    for method, comparison in summary["beside"].items():
        for name, compared in comparison.items():
            if compared["difference"] is not None:
                sys.stdout.write(f"{name:<13} {in_words(compared)}, beside {method}\n")
    images = summary["images"]
    sys.stdout.write(
        f"{images['scored']} of {images['found']} images scored: {out / 'report.md'}\n"
    )
