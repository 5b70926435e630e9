"""Tables of several runs: the mean over seeds and its spread, as Markdown and CSV."""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from lsr.files import atomic_path

Row = Mapping[str, str | float]
"""One run: words and numbers by column. A column may be missing, such as the quality of a run that diverged."""


def mean_over_runs(rows: Sequence[Row], name: str) -> list[dict[str, str]]:
    """Join the rows that have the same word in column `name`: numbers become their mean and, of several runs, its half range.

    Args:
        rows: One for each run.
        name: The column that names what the runs of a group have in common.

    Returns:
        One row for each group in the order of first appearance, all in words: four digits, `24.08 ± 0.01`, or `24.08 ± 0.01 (2 of 3)`
        where a column is missing in some runs.
    """
    groups: dict[str | float, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[name], []).append(row)
    return [{column: _of_group([row.get(column) for row in group]) for column in _columns(rows)} for group in groups.values()]


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _of_group(values: Sequence[str | float | None]) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return "–"
    return _joined(present) if len(present) == len(values) else f"{_joined(present)} ({len(present)} of {len(values)})"


def _joined(values: Sequence[str | float]) -> str:
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return ", ".join(dict.fromkeys(str(value) for value in values))
    mean, half = statistics.fmean(numbers), (max(numbers) - min(numbers)) / 2
    if not math.isfinite(mean):
        return f"{mean}"
    decimals = max(0, 3 - math.floor(math.log10(abs(mean)))) if mean else 3
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}" if half else f"{mean:.4g}"


def write_table(rows: Sequence[Row], folder: Path, name: str) -> str:
    """Write `runs.csv`, a row for each run, and `table.md`, means over the runs that share column `name`; returns the latter.

    Args:
        rows: One for each run.
        folder: Where to.
        name: See `mean_over_runs`.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows))
    writer.writeheader()
    writer.writerows(rows)
    joined = mean_over_runs(rows, name)
    columns = list(joined[0])
    lines = [columns, ["---"] * len(columns), *([row[column] for column in columns] for row in joined)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    for target, contents in ((folder / "runs.csv", text.getvalue()), (folder / "table.md", table)):
        with atomic_path(target) as temporary:
            temporary.write_text(contents)
    return table
