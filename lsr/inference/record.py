"""The record of finished results in an output folder: a second run makes only what is missing."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORD_FILE = "upscaled.jsonl"
"""File with one line per finished result: its name, and a digest of all that it depends on."""


class UpscaleRecord:
    """The record of finished results in a folder.

    A result counts as finished if the last line about it was written for the same input, model and
    options; otherwise it is made again. The line is written after the file of the result, so that a
    kill in between costs one result.

    Args:
        out: Folder of the results.
        model: File of the model.
        recipe: All options that change a result, by name; the values can be written as JSON.
        texts: Text that guides each input; inputs without text may be missing.
    """

    def __init__(
        self, out: Path, model: Path, recipe: dict[str, Any], texts: Mapping[Path, str]
    ) -> None:
        self._out = out
        self._texts = texts
        self._recipe = {"model": _state(model)} | recipe
        self._digests: dict[str, str] = {}
        path = out / RECORD_FILE
        for line in path.read_bytes().split(b"\n") if path.exists() else ():
            try:
                entry = json.loads(line)
                self._digests[entry["file"]] = entry["digest"]
            except (ValueError, KeyError, TypeError):  # damaged: its result is made again
                continue

    def has(self, source: Path, target: Path) -> bool:
        """Return whether `target` exists and equals what would be made of `source` now."""
        return target.is_file() and self._digests.get(self._name(target)) == self._digest(source)

    def add(self, source: Path, target: Path) -> None:
        """Record `target`, the finished result of `source`."""
        line = json.dumps({"file": self._name(target), "digest": self._digest(source)})
        with (self._out / RECORD_FILE).open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _name(self, target: Path) -> str:
        return target.relative_to(self._out).as_posix()

    def _digest(self, source: Path) -> str | None:
        if not source.is_file():
            return None
        recipe = self._recipe | {"source": _state(source), "text": self._texts.get(source, "")}
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _state(path: Path) -> list[Any]:
    """Return what identifies a version of a file without reading it: path, size and time."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
