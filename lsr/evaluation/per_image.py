"""Read and write the folder of an evaluation: one row per image, and the settings of all rows."""

import contextlib
import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lsr.evaluation.data import Item
from lsr.files import atomic_path, is_cut_off, locked, rewrite_json
from lsr.reading.texts import is_json, mend_lines

SETTINGS = "evaluation.json"
"""File of the settings: everything that a value depends on in addition to its image."""

PREDICTIONS = "predictions"
"""Subfolder of the images that a model or an upsampling made."""

FAILED = "failed"
"""Key of the reason in the row of an image that failed. The next run tries the image again."""

_ROWS = "rows.jsonl"
_RESULTS = ("per_image.csv", "summary.json", "report.md", "contact.png")


@contextlib.contextmanager
def claimed(out: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[None]:
    """Lock the folder of an evaluation inside the block, check its settings, and merge its rows.

    Args:
        out: The folder; it is created if it does not exist.
        settings: Settings that all rows have in common, JSON values.
        overwrite: Whether to delete rows that were made with other settings, instead of refusing.

    Raises:
        ValueError: If the folder has other contents or other settings, is locked by another
            evaluation, or cannot be written to.
    """
    path = out / SETTINGS
    with contextlib.ExitStack() as held:
        try:
            if not path.exists():
                if out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
                    raise ValueError(
                        f"--out {out} holds files but no evaluation: choose an empty or new folder"
                    )
                out.mkdir(parents=True, exist_ok=True)
            busy = f"--out {out}: another evaluation is writing there; wait for its end"
            file = held.enter_context(locked(path, busy))
            if is_cut_off(text := file.read(), settings):
                rewrite_json(file, settings)
            elif _differs(out, text, settings, overwrite):
                _delete_rows(out)
                rewrite_json(file, settings)
            for leftover in out.rglob(f".{'[0-9a-f]' * 16}.tmp"):
                leftover.unlink()
            merge(out)
        except OSError as error:
            raise ValueError(f"--out {out} cannot be written to: {error.strerror}") from error
        yield


def _differs(out: Path, text: str, settings: Mapping[str, Any], overwrite: bool) -> bool:
    """Return whether the settings differ from those of the folder.

    Args:
        out: The folder.
        text: Contents of its evaluation.json.
        settings: Settings of this evaluation.
        overwrite: See `claimed`.

    Raises:
        ValueError: If they differ and must not be overwritten.
    """
    try:
        earlier = json.loads(text)
    except ValueError:
        earlier = {}
    differing = sorted(
        key for key in settings.keys() | earlier.keys() if settings.get(key) != earlier.get(key)
    )
    if differing and not overwrite:
        raise ValueError(
            f"--out {out} holds an evaluation that differs in {', '.join(differing)} (a metric "
            "whose weights were missing counts): choose another folder, or use --overwrite"
        )
    return bool(differing)


def _delete_rows(out: Path) -> None:
    """Delete the rows and everything that was computed from them; the predictions are kept."""
    for name in (*_RESULTS, _ROWS):
        (out / name).unlink(missing_ok=True)
    for journal in out.glob("rows-*.jsonl"):
        journal.unlink()


class Journal:
    """Appends rows to a file, so that a row is on the disk before the next one is computed.

    Args:
        out: Folder of the evaluation.
        rank: Rank of the process; each process writes its own file.
    """

    def __init__(self, out: Path, rank: int) -> None:
        self._file = (out / f"rows-{rank}.jsonl").open("a")

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row and wait until it is on the disk."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def merge(out: Path) -> None:
    """Merge the rows of all processes into one file; later rows replace earlier ones of an image.

    A line that is not valid JSON is left out, and the image is evaluated again.
    """
    journals = [path for path in (out / _ROWS, *sorted(out.glob("rows-*.jsonl"))) if path.exists()]
    rows: dict[str, str] = {}
    for journal in journals:
        mend_lines(journal, is_json)
        for line in journal.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                rows[str(json.loads(line)["name"])] = line
    with atomic_path(out / _ROWS) as temporary:
        temporary.write_text("".join(line + "\n" for line in rows.values()))
    for journal in journals:
        if journal.name != _ROWS:
            journal.unlink()


def read_rows(out: Path, items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """Return the valid rows by name of the image.

    A row is valid if the `inputs` of its image are unchanged and the file of the result exists.
    """
    wanted = {item.name: item for item in items if item.sr is not None and item.sr.is_file()}
    return {
        row["name"]: row
        for row in _lines(out)
        if row["name"] in wanted and row.get("inputs") == wanted[row["name"]].inputs
    }


def read_failures(out: Path) -> dict[str, str]:
    """Return the reason for each image that failed when it was last tried, by name."""
    return {row["name"]: row[FAILED] for row in _lines(out) if FAILED in row}


def _lines(out: Path) -> list[dict[str, Any]]:
    """Return all merged rows, including those of failed images."""
    return [json.loads(line) for line in (out / _ROWS).read_text().splitlines()]


def write_csv(out: Path, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> None:
    """Write `per_image.csv`, one line per row.

    Values have nine significant digits, enough to identify a float32; a missing value is `nan`.

    Args:
        out: Folder of the evaluation.
        rows: Rows in the order of the table.
        metrics: Keys of the rows that become columns.
    """
    with (
        atomic_path(out / "per_image.csv") as temporary,
        temporary.open("w", newline="", errors="surrogateescape") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", "width", "height", *metrics, "inputs"])
        for row in rows:
            values = [f"{row[name]:.9g}" for name in metrics]
            table.writerow([row["name"], row["width"], row["height"], *values, row["inputs"]])
