"""Reading curves from a CSV file, of our logger or of any other program."""

import csv
import io
import logging
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lsr.reading.left_out import LeftOut
from lsr.reading.texts import read_text

log = logging.getLogger(__name__)

STEP_COLUMNS = ("step", "global_step", "iteration", "epoch")
"""Names of the column that has the step, in order of preference; case is ignored."""

_SEPARATORS = (",", ";", "\t")
_Row = tuple[int, list[str]]
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")


class CsvLog(NamedTuple):
    """Curves of a CSV file.

    Attributes:
        step_name: Name of the column of steps.
        scalars: The values of each column of numbers, by step.
        repeated: For each column the steps at which it has several different values.
    """

    step_name: str
    scalars: dict[str, dict[int, float]]
    repeated: dict[str, set[int]]


class _Table(NamedTuple):
    """A CSV file, parsed.

    Attributes:
        header: Names of the columns.
        rows: Line number and cells of each row after the header.
        step: Number of the column of steps.
        separator: Character between two cells.
    """

    header: list[str]
    rows: list[_Row]
    step: int
    separator: str


def read_csv(path: Path) -> CsvLog:
    """Return the curves of a CSV file with a header line.

    The separator is a comma, a semicolon (numbers may then have a decimal comma) or a tab. An empty
    cell is a missing value. If a step has several rows, the last value of each column counts. Left
    out and told in warnings are: a last row that a crash has torn, rows without a step or with more
    cells than the header, repeated headers, cells that are no numbers, columns most of whose cells
    are no numbers, and columns with the name of an earlier one.

    Raises:
        ValueError: The file is not a CSV file, has no column of steps or no column of numbers, or a
            step is not a whole number.
    """
    table = _table(path)
    left_out = LeftOut(path)
    text = _columns_of_text(table)
    for place in sorted(text):
        left_out.add("columns of text", table.header[place])
    second = _second_columns(table)
    for place in sorted(second):
        left_out.add("second columns of a name", f"{table.header[place]} in column {place + 1}")
    scalars: dict[str, dict[int, float]] = {}
    repeated: dict[str, set[int]] = {}
    for line, row in table.rows:
        cells = {place: cell for place, cell in enumerate(row) if cell.strip()}
        if [name.strip() for name in row] == table.header:
            left_out.add("repetitions of the header", f"line {line}")
            continue
        if any(place >= len(table.header) for place in cells):
            left_out.add("rows with more cells than the header", f"line {line}")
            continue
        if table.step not in cells:
            if cells:
                left_out.add("rows without a step", f"line {line}")
            continue
        step_name = table.header[table.step]
        step = _whole_number(cells.pop(table.step), f"{path}, line {line}: {step_name}")
        for place, name in enumerate(table.header):
            if place in text | second or place not in cells:
                continue
            value = _number(cells[place], table.separator)
            if value is None:
                cell = repr(cells[place][:20])
                left_out.add("cells that are no numbers", f"{cell} of {name}, line {line}")
                continue
            curve = scalars.setdefault(name, {})
            if curve.get(step) not in (None, value):
                repeated.setdefault(name, set()).add(step)
            curve[step] = value
    left_out.tell(log)
    if not scalars:
        raise ValueError(f"{path}: no column of numbers in addition to {table.header[table.step]}")
    return CsvLog(table.header[table.step], scalars, repeated)


def _table(path: Path) -> _Table:
    """Parse a CSV file; ValueError if it is none, or has no column of steps."""
    try:
        text = read_text(path, is_whole=lambda line: True)
        hint = text[:4].lower() == "sep="  # Excel writes its separator into a line of its own
        if hint:
            text = text.partition("\n")[2]
        for separator in _SEPARATORS:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
            header = [name.strip() for name in next(reader, [])]
            step = _step_column(header)
            if step is not None:
                rows = [(reader.line_num + hint, row) for row in reader]
                if rows and not text.endswith("\n") and _is_torn(rows, header, "\r\n" in text):
                    log.warning("%s: its last row is incomplete and is left out", path)
                    del rows[-1]
                return _Table(header, rows, step, separator)
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{path}: neither an event file (its name must contain tfevents) nor a CSV file; "
            f"{str(error).removeprefix(f'{path}: ')}"
        ) from None
    raise ValueError(
        f"{path}: no column of steps; its name must be one of {', '.join(STEP_COLUMNS)}"
    )


def _is_torn(rows: Sequence[_Row], header: Sequence[str], csv_module: bool) -> bool:
    """Return whether the last row, which has no line end, is the beginning of a longer one.

    Python's csv module, whose lines end in CR LF, ends every row; other programs may not.
    """
    return csv_module or len(rows[-1][1]) < len(header)


def _step_column(header: Sequence[str]) -> int | None:
    names = [name.lower() for name in header]
    return next((names.index(name) for name in STEP_COLUMNS if name in names), None)


def _columns_of_text(table: _Table) -> set[int]:
    """Return the columns in which more cells are text than numbers."""
    surplus: Counter[int] = Counter()
    for _, row in table.rows:
        for place, cell in enumerate(row[: len(table.header)]):
            if cell.strip() and place != table.step:
                surplus[place] += 1 if _number(cell, table.separator) is not None else -1
    return {place for place, count in surplus.items() if count < 0}


def _second_columns(table: _Table) -> set[int]:
    """Return the columns with cells whose name an earlier column has."""
    used = {place for _, row in table.rows for place, cell in enumerate(row) if cell.strip()}
    names = table.header
    return {place for place in used if place < len(names) and names.index(names[place]) < place}


def _number(cell: str, separator: str) -> float | None:
    """Return the number in a cell; None if it has none."""
    if separator != "," and _DECIMAL_COMMA.fullmatch(cell.strip()):
        cell = cell.replace(",", ".")
    try:
        return float(cell)
    except ValueError:
        return None


def _whole_number(cell: str, place: str) -> int:
    """Return the number of a cell, which may be written as `12` or `12.0`."""
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{place} is {cell!r}, not a whole number")
    return int(number)
