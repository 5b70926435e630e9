"""Replay the knee detector over the real curves and compare it with a person's answers.

    python experiments/knee/replay_curves.py [NAME ...] [--peers] [--into docs/knee-scores.md]

reads the table of `experiments/knee/curves/README.md`, replays the files that it names, and prints
a table of the curves and a table of counts. `--peers` also counts what other rules pick, and
`--into` also replaces both tables in a document.
"""

from __future__ import annotations

import argparse
import math
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lsr.files import atomic_path
from lsr.knee.peers import peers
from lsr.knee.replay import parse_metrics, replay
from lsr.knee.simulator import SimulatedCurve
from lsr.runs.history import RunLog

FOLDER = Path(__file__).parent / "curves"
LOSS = "train/loss"
NO_KNEE = "none"
COLUMNS = (
    "curve",
    "validations",
    "a person",
    "the detector",
    "gain made",
    "confirmed at",
    "outcome",
)
NONE_TOO = "none, as the person"
OUTCOMES = ("found", NONE_TOO, "early", "late", "missed", "false alarm")


@dataclass(frozen=True)
class RealCurve:
    """A curve with a person's answer.

    Attributes:
        name: Name of the file without its suffix.
        metrics: Direction of each metric, `"max"` or `"min"`.
        ranges: First and last step of each range that the person named, by increasing steps.
        may_have_none: Whether "no knee" is a good answer.
    """

    name: str
    metrics: dict[str, str]
    ranges: tuple[tuple[int, int], ...]
    may_have_none: bool

    @classmethod
    def of(cls, file: str, metrics: str, answer: str) -> RealCurve:
        """Read the cells of a row; an answer is ranges of steps, or `none`, joined by `or`."""
        parts = answer.split(" or ")
        ranges = [part.split("-") for part in parts if part != NO_KNEE]
        return cls(
            name=file.removesuffix(".csv"),
            metrics=parse_metrics(metrics),
            ranges=tuple((int(first), int(last)) for first, last in ranges),
            may_have_none=NO_KNEE in parts,
        )

    @property
    def answer_in_words(self) -> str:
        """The answer as it stands in the table, such as `1,700 to 2,000`."""
        words = [f"{first:,} to {last:,}" for first, last in self.ranges]
        return " or ".join([*words, NO_KNEE] if self.may_have_none else words)

    def log(self) -> RunLog:
        """Read the file."""
        return RunLog.read(FOLDER / f"{self.name}.csv")

    def as_simulated(self) -> SimulatedCurve:
        """Return the curve in the form that the other rules read; it has no known truth."""
        log = self.log()
        history = log.validations(self.metrics)
        values = [[v.values.get(name, math.nan) for v in history] for name in self.metrics]
        return SimulatedCurve(
            family="real",
            traits=(),
            steps=np.array([v.step for v in history], dtype=float),
            values=np.array(values),
            directions=tuple(self.metrics.values()),
            knee=math.inf,
            tolerance=(math.inf, math.inf),
            truth=lambda steps: np.full((1, len(steps)), math.nan),
        )

    def judge(self, knee: int | None) -> str:
        """Compare the step of a knee, or its absence, with the person's answer."""
        if knee is None:
            return NONE_TOO if self.may_have_none else "missed"
        if not self.ranges:
            return "false alarm"
        if any(first <= knee <= last for first, last in self.ranges):
            return "found"
        return "early" if knee < self.ranges[0][0] else "late"


def head(columns: Sequence[str]) -> list[str]:
    """Return the two lines with which a table begins."""
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]


def read_curves(readme: Path = FOLDER / "README.md") -> list[RealCurve]:
    """Return the curves of the table of the README."""
    rows = [line.strip("| ").split(" | ") for line in readme.read_text().splitlines()]
    return [RealCurve.of(row[0], row[1], row[3]) for row in rows if row[0].endswith(".csv")]


def gain_made(curve: RealCurve, log: RunLog, step: int) -> float:
    """Return the share of a run's gain that is made at a step, as the median over the metrics.

    The gain leads from the first value to the best median of five validations in a row. The value
    at the step is the median of three validations. A metric without a gain has no share.
    """
    shares = []
    for metric, direction in curve.metrics.items():
        steps = [at for at, value in log.scalars[metric].items() if math.isfinite(value)]
        values = np.array([log.scalars[metric][at] for at in steps])
        values = values if direction == "max" else -values
        top = np.median(sliding_window_view(values, 5), axis=1).max()
        here = bisect_left(steps, step)
        value = np.median(values[max(0, here - 1) : here + 2])
        if top != values[0]:
            shares.append((value - values[0]) / (top - values[0]))
    return float(np.median(shares))


def replay_row(curve: RealCurve) -> tuple[str, str]:
    """Replay a curve; return the outcome and the row of the table."""
    log = curve.log()
    history = log.validations(curve.metrics, LOSS if LOSS in log.scalars else None)
    verdict = replay(history, curve.metrics).verdict
    outcome = curve.judge(verdict.knee_step)
    knee, confirmed = verdict.knee_step, verdict.confirmed_at_step
    made = ""
    if knee is None:
        picked = "diverged" if verdict.diverged else NO_KNEE
    else:
        picked = f"{knee:,}"
        made = f"{gain_made(curve, log, knee):.0%}".replace("%", " %")
    at = "" if confirmed is None else f"{confirmed:,}"
    cells = (curve.name, str(len(history)), curve.answer_in_words, picked, made, at, outcome)
    return outcome, "| " + " | ".join(cells) + " |"


def count_row(rule: str, outcomes: Sequence[str]) -> str:
    """Return the row of a rule in the table of counts."""
    counts = Counter(outcomes)
    return f"| {rule} | " + " | ".join(str(counts[outcome]) for outcome in OUTCOMES) + " |"


def peer_rows(curves: Sequence[RealCurve]) -> list[str]:
    """Return the rows of the rules with which the detector is compared."""
    runs = [curve.as_simulated() for curve in curves]
    rows = []
    for name, rule in peers().items():
        picks = [rule(run) for run in runs]
        pairs = zip(curves, picks, strict=True)
        rows.append(count_row(name, [c.judge(None if p is None else p[0]) for c, p in pairs]))
    return rows


def replace_table(document: Path, table: Sequence[str]) -> None:
    """Replace the table with the same head in a document.

    Raises:
        ValueError: If the document has no such table.
    """
    lines = document.read_text().splitlines()
    if table[0] not in lines:
        raise ValueError(f"{document}: no table begins with {table[0]}")
    first = lines.index(table[0])
    last = next(at for at in range(first, len(lines) + 1) if not "".join(lines[at : at + 1]))
    with atomic_path(document) as part:
        part.write_text("\n".join([*lines[:first], *table, *lines[last:]]) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="curves (default: all)")
    parser.add_argument("--peers", action="store_true", help="also count what other rules pick")
    parser.add_argument("--into", type=Path, metavar="FILE", help="document with both tables")
    options = parser.parse_args(arguments)
    if options.into is not None and (options.names or not options.peers):
        parser.error("--into needs the tables of all curves and rules: give --peers and no NAME")
    curves = read_curves()
    unknown = set(options.names) - {curve.name for curve in curves}
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not a curve of {FOLDER / 'README.md'}")
    curves = [curve for curve in curves if not options.names or curve.name in options.names]
    replayed = [replay_row(curve) for curve in curves]
    table = [*head(COLUMNS), *(row for _, row in replayed)]
    counts = head(("rule", *OUTCOMES))
    counts += peer_rows(curves) if options.peers else []
    counts.append(count_row("**this detector**", [outcome for outcome, _ in replayed]))
    sys.stdout.write("\n".join([*table, "", *counts]) + "\n")
    if options.into is not None:
        replace_table(options.into, table)
        replace_table(options.into, counts)


if __name__ == "__main__":
    main()
