"""The folder of an export: who may write into it, and which LR images it already contains.

A folder of an export is whole again after every interruption.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lsr.degradations.config import DegradationConfig
from lsr.files import atomic_path, is_cut_off, locked, rewrite_json
from lsr.reading.texts import is_json, mend_lines

SETTINGS_FILE = "degradation.json"
"""File with the settings of an export: preset, seed, and the configuration with all its values."""

PARAMETERS_FILE = "params.jsonl"
"""File with one line per LR image of an export."""


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """Settings that all LR images of one folder share.

    Attributes:
        preset: Name of the preset that `cfg` started from.
        cfg: Configuration of the degradation.
        seed: Seed of the draws.
    """

    preset: str
    cfg: DegradationConfig
    seed: int


class Finished(NamedTuple):
    """An LR image that the folder contains.

    Attributes:
        file: Name relative to the folder.
        source_bytes: Size of the file of the photograph that it was made from, in bytes.
    """

    file: str
    source_bytes: int


Sample = tuple[str, int]
"""Name of a photograph relative to its folder, and epoch: the number of the draw."""


@contextlib.contextmanager
def claimed(out: Path, settings: ExportSettings) -> Iterator[None]:
    """Lock the folder for this process while the context is open.

    A new folder gets its file of settings.

    Raises:
        ValueError: The folder contains something else or an export with other settings, or another
            export holds the lock.
    """
    if not (out / SETTINGS_FILE).exists():
        _check_empty(out)
        out.mkdir(parents=True, exist_ok=True)
    busy = f"--out {out}: another export is writing there; wait for its end"
    with locked(out / SETTINGS_FILE, busy) as file:
        if is_cut_off(text := file.read(), _document(settings)):
            rewrite_json(file, _document(settings))
        else:
            _check_same_settings(out, text, settings)
        yield


def _check_empty(out: Path) -> None:
    """Raise ValueError if a folder holds files other than hidden ones."""
    if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise ValueError(
            f"--out {out} holds files that lsr degrade did not write: choose an empty or new folder"
        )


def _document(settings: ExportSettings) -> dict[str, Any]:
    """Return the contents of the file of settings."""
    return {
        "preset": settings.preset,
        "seed": settings.seed,
        "digest": settings.cfg.digest(),
        "config": dataclasses.asdict(settings.cfg),
    }


def _check_same_settings(out: Path, text: str, settings: ExportSettings) -> None:
    try:
        document = json.loads(text)
        there = document["preset"], document["digest"], document["seed"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{out / SETTINGS_FILE}: not written by this command, or damaged: choose another --out"
        ) from None
    wanted = settings.preset, settings.cfg.digest(), settings.seed
    if there != wanted:
        raise ValueError(
            f"--out {out} contains an export of preset {there[0]}, configuration {there[1]}, seed "
            f"{there[2]}; this one is {', '.join(map(str, wanted))}: choose another folder"
        )


def recover(out: Path) -> dict[Sample, Finished]:
    """Remove what a killed export left: temporary files, half a line, lines without their LR image.

    Returns:
        The LR images that are finished.
    """
    for leftover in out.rglob(f".{'[0-9a-f]' * 16}.tmp"):
        leftover.unlink()
    finished: dict[Sample, Finished] = {}
    parameters = out / PARAMETERS_FILE
    if not parameters.exists():
        return finished
    mend_lines(parameters, is_json)
    with (
        atomic_path(parameters) as temporary,
        parameters.open("rb") as before,
        temporary.open("wb") as after,
    ):
        for line in before:
            try:
                sample, image = _read_line(line)
            except (ValueError, KeyError, TypeError):
                continue
            if sample not in finished and (out / image.file).is_file():
                finished[sample] = image
                after.write(line)
    return finished


def _read_line(line: bytes) -> tuple[Sample, Finished]:
    record = json.loads(line)
    sample = str(record["source"]), int(record["epoch"])
    return sample, Finished(str(record["file"]), int(record["source_bytes"]))
