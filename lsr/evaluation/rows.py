"""The folder of an evaluation: a row per image, each on the disk as soon as it is known, and what all rows have in common."""

import contextlib
import csv
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lsr.evaluation.data import Item
from lsr.files import atomic_path, write_json

SETTINGS = "evaluation.json"
"""What a value depends on beside its image."""

PREDICTIONS = "predictions"
"""Folder of the images that a model made."""

FAILED = "failed"
"""Key of the reason in the line of an image that has failed; it is tried again by the next run."""

_ROWS = "rows.jsonl"
_RESULTS = ("per_image.csv", "summary.json", "report.md", "contact.png")


@contextlib.contextmanager
def claimed(out: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[None]:
    """Hold the folder for this evaluation alone, see that it is new or one of the same settings, and put its rows together.

    Args:
        out: The folder.
        settings: What all rows have in common, JSON values.
        overwrite: Drop the rows of other settings.

    Raises:
        ValueError: If the folder has something else, cannot be written to, or another process is evaluating there.
    """
    path = out / SETTINGS
    with contextlib.ExitStack() as held:
        try:
            if not path.exists():
                if out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
                    raise ValueError(
                        f"--out {out} is neither empty nor an evaluation: choose another folder"
                    )
                write_json(path, settings)
            file = held.enter_context(path.open("r+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _check(out, file.read(), settings, overwrite)
            for leftover in out.rglob(f".{'[0-9a-f]' * 16}.tmp"):
                leftover.unlink()
            merge(out)
        except BlockingIOError:
            raise ValueError(f"--out {out}: another evaluation is writing there") from None
        except OSError as error:
            raise ValueError(f"--out {out} cannot be written to: {error.strerror}") from error
        yield


def _check(out: Path, text: str, settings: Mapping[str, Any], overwrite: bool) -> None:
    try:
        there = json.loads(text)
    except ValueError:
        there = {}
    differing = sorted(
        key for key in settings.keys() | there.keys() if settings.get(key) != there.get(key)
    )
    if not differing:
        return
    if not overwrite:
        raise ValueError(
            f"--out {out} holds an evaluation with another {', '.join(differing)}: its rows cannot be used; "
            "choose another folder, or --overwrite"
        )
    for name in (*_RESULTS, _ROWS):
        (out / name).unlink(missing_ok=True)
    for journal in out.glob("rows-*.jsonl"):
        journal.unlink()
    # In place: a new file would not be the one that is locked.
    with (out / SETTINGS).open("r+") as file:
        file.write(json.dumps(settings, indent=1) + "\n")
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


class Journal:
    """Appends rows, each on the disk before the next.

    Args:
        out: The folder.
        rank: Number of the process; each has a file of its own.
    """

    def __init__(self, out: Path, rank: int) -> None:
        self._file = (out / f"rows-{rank}.jsonl").open("a")

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def merge(out: Path) -> None:
    """Put the rows of all processes into one file; half a line, the mark of a kill, is left out."""
    journals = [path for path in (out / _ROWS, *sorted(out.glob("rows-*.jsonl"))) if path.exists()]
    rows: dict[str, str] = {}
    for journal in journals:
        for line in journal.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                rows[str(json.loads(line)["name"])] = line
    with atomic_path(out / _ROWS) as temporary:
        temporary.write_text("".join(line + "\n" for line in rows.values()))
    for journal in journals:
        if journal.name != _ROWS:
            journal.unlink()


def read_rows(out: Path, items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """Return the rows by name that are still those of their files: neither of images that have changed nor of results that are gone."""
    wanted = {item.name: item for item in items if item.sr is not None and item.sr.is_file()}
    return {
        row["name"]: row
        for row in _lines(out)
        if row["name"] in wanted and row.get("inputs") == wanted[row["name"]].inputs
    }


def read_failures(out: Path) -> dict[str, str]:
    """Return the reason of each image that failed when it was last tried, by name."""
    return {row["name"]: row[FAILED] for row in _lines(out) if FAILED in row}


def _lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / _ROWS).read_text().splitlines()]


def write_csv(out: Path, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> None:
    """Write `per_image.csv`: values with nine significant digits, which is all of a float32; `nan` where an image has none."""
    with (
        atomic_path(out / "per_image.csv") as temporary,
        temporary.open("w", newline="", errors="surrogateescape") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", "width", "height", *metrics, "inputs"])
        for row in rows:
            table.writerow(
                [
                    row["name"],
                    row["width"],
                    row["height"],
                    *(f"{row[name]:.9g}" for name in metrics),
                    row["inputs"],
                ]
            )
