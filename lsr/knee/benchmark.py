"""Compare the detector with other rules on freshly simulated runs, as a table."""

from __future__ import annotations

import math
from typing import Any

from lsr.knee.peers import missing_packages, peers
from lsr.knee.scoring import compare, correct_by_family, draw_runs, rates, this_detector

DETECTOR = "this detector"


def run_benchmark(seed: int, count: int) -> dict[str, Any]:
    """Score all rules on the same runs.

    Args:
        seed: Seed of the runs.
        count: Number of runs.

    Returns:
        Plain values: the rates of every rule with their 95 % intervals, and for each family of
        rises the share of its runs that every rule judged correctly; the packages of other rules
        that are not installed.
    """
    curves = draw_runs(seed, count)
    outcomes = compare(curves, peers() | {DETECTOR: this_detector})
    with_knee = sum(curve.has_knee for curve in curves)
    report: dict[str, Any] = {
        "seed": seed,
        "runs_with_knee": with_knee,
        "runs_without_knee": count - with_knee,
        "not_installed": missing_packages(),
        "rules": {},
        "families": {},
    }
    for name, found in outcomes.items():
        report["rules"][name] = {
            rate: [None if math.isnan(value) else value for value in values]
            for rate, values in rates(curves, found).items()
        }
        for family, (right, total) in correct_by_family(curves, found).items():
            row = report["families"].setdefault(family, {"runs": total})
            row[name] = right / total
    return report


def benchmark_in_words(report: dict[str, Any]) -> str:
    """Return a report of `run_benchmark` as text."""
    lines = [
        f"{report['runs_with_knee']} simulated runs with a knee, {report['runs_without_knee']} "
        f"without, seed {report['seed']}; 95 % intervals in brackets",
        "",
    ]
    for name, scores in report["rules"].items():
        parts = []
        for rate, (value, low, high) in scores.items():
            if value is None:
                continue
            if rate == "delay":
                parts.append(f"delay {value:.0f} validations")
            else:
                parts.append(f"{rate} {value:.0%} [{low:.0%}, {high:.0%}]")
        lines += [name, "  " + ", ".join(parts)]
    if report["not_installed"]:
        packages = ", ".join(report["not_installed"])
        lines += ["", f"skipped, because their packages are not installed: {packages}"]
    lines += ["", f"judged correctly by {DETECTOR} (by the elasticity test), for each family"]
    lines += [
        f"  {family:22s} {row[DETECTOR]:4.0%} ({row['elasticity test']:4.0%}) of {row['runs']}"
        for family, row in report["families"].items()
    ]
    return "\n".join(lines) + "\n"
