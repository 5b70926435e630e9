"""Write the tables that compare runs: `runs.csv` (all runs) and `table.md` (means over seeds)."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lsr.files import atomic_path

Row = Mapping[str, str | float]
"""One run: column -> text or number. Columns may be missing (quality of a diverged run)."""


def mean_over_runs(rows: Sequence[Row], name: str) -> list[dict[str, str]]:
    """Merge the rows that have the same text in column `name` into one row of text.

    Numbers become `mean ± half range`, where half range = (largest - smallest) / 2, with four
    significant digits: `24.08 ± 0.01`. Without a spread the row has the number alone: `24.08`. If
    some runs of the group lack the column, their number is given: `24.08 ± 0.01 (2 of 3)`. The
    texts of other columns are listed: `34, 17, 17`.

    Args:
        rows: One row for each run.
        name: The column that names the group of a run, for example `model`.

    Returns:
        One row for each group, in the order of first appearance.
    """
    groups: dict[str | float, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[name], []).append(row)
    columns = _columns(rows)
    return [
        {
            column: str(own) if column == name else _cell([row.get(column) for row in group])
            for column in columns
        }
        for own, group in groups.items()
    ]


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _cell(values: Sequence[str | float | None]) -> str:
    """Return the cell of a group; None stands for a run without a value."""
    present = [value for value in values if value is not None]
    if not present:
        return "–"
    text = _merged(present)
    return text if len(present) == len(values) else f"{text} ({len(present)} of {len(values)})"


def _merged(values: Sequence[str | float]) -> str:
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return ", ".join(map(str, values))
    mean = statistics.fmean(numbers)
    half = (max(numbers) - min(numbers)) / 2
    if not math.isfinite(mean):
        return f"{mean}"
    if not half:
        return f"{mean:.4g}"
    # The spread gets the decimals of the mean, which has four significant digits.
    decimals = max(0, 3 - math.floor(math.log10(abs(mean)))) if mean else 3
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, without a line feed at its end.

    Args:
        header: Titles of the columns.
        rows: The cells of each row, as many as there are columns.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_table(rows: Sequence[Row], folder: Path, name: str) -> str:
    """Write `runs.csv` (one row for each run) and `table.md` (one row for each group of runs).

    Args:
        rows: One row for each run.
        folder: The folder of the two files.
        name: The column that names the group of a run, see `mean_over_runs`.

    Returns:
        The text of `table.md`.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows))
    writer.writeheader()
    writer.writerows(rows)
    merged = mean_over_runs(rows, name)
    columns = list(merged[0])
    cells = [[row[column] for column in columns] for row in merged]
    table = markdown_table(columns, cells) + "\n"
    for target, contents in ((folder / "runs.csv", text.getvalue()), (folder / "table.md", table)):
        with atomic_path(target) as temporary:
            temporary.write_text(contents)
    return table
