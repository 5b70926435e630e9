"""What lies in a folder of results, and how it was made: so that a second run does what is missing and nothing else."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORD_FILE = "upscaled.jsonl"
"""One line per finished picture: its name, and a digest of all that it depends on."""


class UpscaleRecord:
    """Knows the finished results of a folder.

    A result counts as finished if its last line was written for the same input, model and options; whatever has changed is made
    again. A picture is on the disk before its line is: a kill in between costs one picture.

    Args:
        out: Folder of the results.
        model: The model file.
        recipe: All options that change a result; plain values.
        texts: What guides each input by itself.
    """

    def __init__(
        self, out: Path, model: Path, recipe: dict[str, Any], texts: Mapping[Path, str]
    ) -> None:
        self._out, self._texts = out, texts
        self._recipe = {"model": _state(model)} | recipe
        self._digests: dict[str, str] = {}
        path = out / RECORD_FILE
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
                self._digests[entry["file"]] = entry["digest"]
            except (ValueError, KeyError, TypeError):  # the last line of a run that was killed
                continue

    def has(self, source: Path, target: Path) -> bool:
        """Tell whether the result of `source` is there as it would be made now."""
        return target.is_file() and self._digests.get(self._name(target)) == self._digest(source)

    def add(self, source: Path, target: Path) -> None:
        """Record a result that is on the disk."""
        line = json.dumps({"file": self._name(target), "digest": self._digest(source)})
        with (self._out / RECORD_FILE).open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else "\n" + line
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
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
