"""Tables of measurements: printed row by row, written as Markdown and CSV; of wrong results no time is shown."""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lsr.bench.timing import Roofline, measure
from lsr.files import atomic_path

if TYPE_CHECKING:
    from lsr.bench.cases import Case


@dataclass(frozen=True)
class Bench:
    """Where and how everything of one run is measured.

    Attributes:
        device: Where.
        dtype: Precision.
        roofline: What the machine does at best in this precision.
        header: What the figures are worth, a line.
        out: Folder for tables and pictures.
        seconds: Time to spend on a row.
        model: A model file to measure in place of a named size with random weights, or None.
        size: The name of that size; None is one that suits the device.
        steps: Sampling steps.
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
        """Whether the device is for the paper's sizes."""
        return self.device.type == "cuda"


class Table:
    """Rows of text under the same columns.

    Args:
        columns: Their names.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self._rows: list[dict[str, str]] = []
        say(f"\n{self._line(self.columns)}\n|{'---|' * len(self.columns)}")

    def add(self, row: Mapping[str, str]) -> None:
        """Print a row; columns that it does not name stay empty."""
        assert row.keys() <= set(self.columns), row.keys() - set(self.columns)
        self._rows.append({column: row.get(column, "") for column in self.columns})
        say(self._line(self._rows[-1].values()))

    def save(self, out: Path, name: str, header: str) -> None:
        """Write `name`.csv and, under the header, `name`.md."""
        with atomic_path(out / f"{name}.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self._rows)
        lines = [
            self._line(self.columns),
            f"|{'---|' * len(self.columns)}",
            *(self._line(row.values()) for row in self._rows),
        ]
        with atomic_path(out / f"{name}.md") as temporary:
            temporary.write_text(header + "\n\n" + "\n".join(lines) + "\n")

    @staticmethod
    def _line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


_COLUMNS = (
    "shape",
    "implementation",
    "ms",
    "peak MiB",
    "GFLOP",
    "MB",
    "% of roofline",
    "times faster",
    "error",
)


def compare(bench: Bench, name: str, cases: "Iterable[Case]") -> int:
    """Measure implementations of the same work side by side, each held to its reference first.

    Args:
        bench: Where and how.
        name: Of the files.
        cases: What; the baseline of a shape comes before the others.

    Returns:
        The number of implementations that failed or gave a wrong result.
    """
    table = Table(_COLUMNS)
    baselines: dict[str, float] = {}
    wrong = 0
    for case in cases:
        row = {"shape": case.shape, "implementation": case.name}
        row |= {"GFLOP": f"{case.flops / 1e9:.2f}", "MB": f"{case.moved / 1e6:.1f}"}
        try:
            error = case.error()
        except Exception as problem:  # what cannot run does not take the rows of the others with it
            wrong += 1
            table.add(
                row
                | {
                    "ms": f"FAILED: {type(problem).__name__}: {next(iter(str(problem).splitlines()), '')}"
                }
            )
            continue
        row |= {"error": "another function" if error is None else f"{error:.1e}"}
        if error is not None and not error <= case.tolerance:
            wrong += 1
            row["ms"] = f"WRONG: error above {case.tolerance:g}"
        else:
            taken = measure(case.run, bench.device, bench.seconds)
            if case.baseline:
                baselines[case.shape] = taken.seconds
            row["ms"] = f"{1e3 * taken.seconds:.3f}"
            row["peak MiB"] = "" if taken.peak_bytes is None else f"{taken.peak_bytes / 2**20:.1f}"
            row["% of roofline"] = (
                f"{100 * bench.roofline.least_seconds(case.flops, case.moved) / taken.seconds:.0f}"
            )
            row["times faster"] = (
                f"{baselines[case.shape] / taken.seconds:.2f}" if case.shape in baselines else ""
            )
        table.add(row)
    table.save(bench.out, name, bench.header)
    return wrong
