"""Read the files in a run folder. One that is damaged is named in a notice, and is no error."""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsr.errors import first_clause, one_line
from lsr.reading.texts import read_text
from lsr.runs.history import RunLog
from lsr.runs.launches import LAUNCHES, Launch, read_launches
from lsr.runs.settings import settings_of

_DIVERGENCE = "divergence.json"
_METRICS = "metrics.csv"
_MARKS = (
    _METRICS,
    "*tfevents*",
    "config.yaml",
    LAUNCHES,
    _DIVERGENCE,
    "knee/*.json",
    "checkpoints/*.ckpt",
)
"""Files of which a run folder has at least one."""

_LARGEST = 1e15
"""Numbers of a JSON file are smaller; larger ones would not fit into any chart."""


@dataclass
class RunFiles:
    """The contents of a run folder.

    Attributes:
        folder: The folder.
        name: Name of the run in the report.
        log: The logged curves; None if there are none.
        config: All settings; empty if they are unknown.
        config_text: The text of `config.yaml`.
        launches: The launches of the run, oldest first; empty if they were not recorded.
        knee: Contents of `knee/knee.json`; None if no knee was published.
        provisional: Contents of `knee/provisional.json`, or None.
        divergence: Contents of `divergence.json`, or None.
        loss_by_time: Contents of `experts/loss_by_time.json`, or None.
        notices: One line for everything that could not be read as a whole.
    """

    folder: Path
    name: str
    log: RunLog | None = None
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    launches: list[Launch] = field(default_factory=list)
    knee: dict[str, Any] | None = None
    provisional: dict[str, Any] | None = None
    divergence: dict[str, Any] | None = None
    loss_by_time: dict[str, Any] | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def last_step(self) -> int | None:
        """Return the last step that is known, None if there is none."""
        steps = [max(curve) for curve in self.curves.values()]
        steps += [launch.step for launch in self.launches]
        return max(steps, default=None)

    @property
    def curves(self) -> Mapping[str, Mapping[int, float]]:
        """Return the logged curves by name."""
        return {} if self.log is None else self.log.scalars


def is_run(folder: Path) -> bool:
    """Return whether a folder has any of the files that a run writes."""
    return any(next(folder.glob(mark), None) is not None for mark in _MARKS)


def read_run(folder: Path, name: str) -> RunFiles:
    """Return what a run folder contains.

    Args:
        folder: The folder, for which `is_run` holds.
        name: Name of the run in the report.
    """
    run = RunFiles(folder, name)
    with _told(run.notices):
        run.log = _read_log(folder, run.notices)
        run.config_text, run.config = _read_config(folder / "config.yaml", run.notices)
        with noting(run.notices):
            run.launches = read_launches(folder)
        run.knee = _read_json(folder / "knee" / "knee.json", {"step": int}, run.notices)
        wanted: dict[str, Any] = {"step": int, "probability": float, "judged_at_step": int}
        run.provisional = _read_json(folder / "knee" / "provisional.json", wanted, run.notices)
        wanted = {"step": int, "reason": str}
        run.divergence = _read_json(folder / _DIVERGENCE, wanted, run.notices)
        wanted = {"step": int, "shift": float} | dict.fromkeys(
            ("times", "losses", "knee_losses", "boundaries"), list
        )
        run.loss_by_time = _read_json(folder / "experts" / "loss_by_time.json", wanted, run.notices)
    return run


@contextlib.contextmanager
def _told(notices: list[str]) -> Iterator[None]:
    """Add the warnings of our readers to the notices, inside the block."""

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notices.append(record.getMessage())

    keeps = Keeps(logging.WARNING)
    ours = logging.getLogger("lsr")
    ours.addHandler(keeps)
    try:
        yield
    finally:
        ours.removeHandler(keeps)


@contextlib.contextmanager
def noting(notices: list[str]) -> Iterator[None]:
    """Turn the error of a file that cannot be read, inside the block, into a notice.

    What follows the file in the block is skipped.

    Args:
        notices: Gets one line if there is an error.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        notices.append(one_line(error))


def _read_log(folder: Path, notices: list[str]) -> RunLog | None:
    """Return the curves of `metrics.csv`, else of the event files, which are slower to read."""
    if (folder / _METRICS).is_file():
        with noting(notices):
            return RunLog.read(folder / _METRICS)
    with noting(notices):
        return RunLog.read(folder)
    return None


def _read_config(path: Path, notices: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the text and the settings of a configuration; both are empty if there is none."""
    if not path.is_file():
        notices.append(f"{path}: no such file, so the settings of the run are unknown")
        return "", {}
    text = ""
    with noting(notices):
        text = read_text(path)
        return text, settings_of(text, path)
    return text, {}


def _read_json(path: Path, wanted: Mapping[str, Any], notices: list[str]) -> dict[str, Any] | None:
    """Return an object of a JSON file.

    Args:
        path: The file.
        wanted: Names that it must have, and the types of their values.
        notices: Gets one line if the file is there but cannot be used.

    Returns:
        The object; None if there is no such file or it cannot be used.
    """
    if not path.is_file():
        return None
    with noting(notices):
        try:
            found = json.loads(read_text(path), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not whole ({first_clause(error)})") from None
        known = found if isinstance(found, dict) else {}
        lacking = [name for name, kind in wanted.items() if not _is(known.get(name), kind)]
        if lacking:
            raise ValueError(f"{path}: does not have {', '.join(lacking)} as LinearSR writes them")
        return found
    return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _is(value: Any, kind: type) -> bool:
    """Return whether a value of JSON has a type; a list must hold numbers, an int is a float."""
    if kind is list:
        return isinstance(value, list) and all(_is(each, float) for each in value)
    if kind is str:
        return isinstance(value, str)
    is_number = isinstance(value, int if kind is int else int | float)
    return is_number and not isinstance(value, bool) and abs(value) < _LARGEST
