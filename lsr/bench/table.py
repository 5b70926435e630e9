"""The settings of a benchmark run, and tables that are printed row by row and written to files."""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lsr.bench.timing import Roofline
from lsr.files import atomic_path


@dataclass(frozen=True)
class Bench:
    """Settings of one benchmark run; every suite gets the same ones.

    Attributes:
        device: Device to measure on.
        dtype: Precision to measure in.
        roofline: Highest speeds of the device in this precision.
        header: Line above every table that names hardware, precision and versions.
        out: Folder for tables and pictures.
        seconds: Seconds to spend on each row.
        model: Model file for the suite e2e; None measures a named size with random weights.
        size: Name of that size; None chooses a size that suits the device.
        steps: Sampling steps of the suite e2e, at least 1.
    """

    device: torch.device
    dtype: torch.dtype
    roofline: Roofline
    header: str
    out: Path
    seconds: float
    model: Path | None = None
    size: str | None = None
    steps: int = 1

    @property
    def large(self) -> bool:
        """Whether to measure the sizes of the paper, which only a GPU can do in reasonable time."""
        return self.device.type == "cuda"


class Table:
    """Table of text that is printed while it grows and written to files when it is complete.

    Args:
        columns: Names of the columns.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self._rows: list[dict[str, str]] = []
        say(f"\n{self._line(self.columns)}\n{self._rule()}")

    def add(self, row: Mapping[str, str]) -> None:
        """Add a row and print it.

        Args:
            row: Cells by column; a column that is left out stays empty.
        """
        assert row.keys() <= set(self.columns), row.keys() - set(self.columns)
        self._rows.append({column: row.get(column, "") for column in self.columns})
        say(self._line(self._rows[-1].values()))

    def save(self, out: Path, name: str, header: str) -> None:
        """Write the table as `name`.csv and, below the header, as Markdown in `name`.md.

        Args:
            out: Folder of the files.
            name: Name of the files without suffix.
            header: Text above the Markdown table.
        """
        with atomic_path(out / f"{name}.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self._rows)
        rows = [self._line(row.values()) for row in self._rows]
        lines = [self._line(self.columns), self._rule(), *rows]
        with atomic_path(out / f"{name}.md") as temporary:
            temporary.write_text(header + "\n\n" + "\n".join(lines) + "\n")

    def _rule(self) -> str:
        return f"|{'---|' * len(self.columns)}"

    @staticmethod
    def _line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"


def say(text: str) -> None:
    """Print a line and flush stdout, so that a long run shows its progress in a pipe too."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
