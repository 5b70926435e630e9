"""What a run logged: TensorBoard event files and CSV files, read back as the list of its validations."""

import csv
import math
import statistics
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

STEP_COLUMNS = ("step", "global_step", "iteration", "epoch")
"""Columns that count a run's progress, the best first; upper and lower case do not matter."""

_EVENT_FILE = "*tfevents*"
_METRICS_CSV = "metrics.csv"
_NOT_A_CURVE = "hp_metric"  # Lightning's placeholder for the table of hyper-parameters, written at step 0 of every launch

Scalars = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Validation:
    """One validation of a run.

    Attributes:
        step: The training step it was made at.
        values: The metrics; one may be missing or non-finite.
        loss: The training loss since the validation before, None if unknown.
    """

    step: int
    values: dict[str, float]
    loss: float | None = None


@dataclass(frozen=True)
class RunLog:
    """Every scalar that a run logged.

    Attributes:
        files: The files that were read.
        step_name: What the steps count: `step`, or the column of a CSV file.
        scalars: For each name its values by increasing step.
    """

    files: tuple[Path, ...]
    step_name: str
    scalars: Scalars

    @classmethod
    def read(cls, path: Path) -> "RunLog":
        """Read a file, or a run folder: its event files, or its `metrics.csv` when it has none.

        Raises:
            ValueError: There is no such file, no log in the folder, or nothing to be read in the file.
        """
        if path.is_dir():
            files = sorted(path.glob(_EVENT_FILE))
            if not files and (path / _METRICS_CSV).is_file():
                return _read_csv(path / _METRICS_CSV)
            if not files:
                patterns = [f"{depth}/{name}" for depth in ("*", "*/*") for name in (_EVENT_FILE, _METRICS_CSV)]
                below = sorted({str(file.parent) for pattern in patterns for file in path.glob(pattern)})
                hint = f"; try {', '.join(below)}" if below else ""
                raise ValueError(f"{path}: no event file and no {_METRICS_CSV} in this folder{hint}")
            return _read_events(path, files)
        if not path.is_file():
            raise ValueError(f"{path}: no such file or folder")
        return _read_events(path, [path]) if path.match(_EVENT_FILE) else _read_csv(path)

    def validations(self, metrics: Collection[str], loss: str | None = None) -> list[Validation]:
        """Return the steps at which any of the metrics was logged, in order.

        The loss of a validation is the median of what was logged since the one before. A non-finite value among them is not
        averaged away, and one after the last validation is a record of its own, without metrics.

        Raises:
            ValueError: A name is not in the log.
        """
        unknown = [name for name in [*metrics, *([] if loss is None else [loss])] if name not in self.scalars]
        if unknown:
            raise ValueError(f"{self.files[0]}: nothing called {', '.join(unknown)}; there are {', '.join(sorted(self.scalars))}")
        steps = sorted(set().union(*(self.scalars[name] for name in metrics)))
        losses = list(self.scalars[loss].items()) if loss is not None else []
        history, position = [], 0
        for step in steps:
            recent = []
            while position < len(losses) and losses[position][0] <= step:
                recent.append(losses[position][1])
                position += 1
            values = {name: self.scalars[name][step] for name in metrics if step in self.scalars[name]}
            history.append(Validation(step, values, _median(recent)))
        broken = next(((step, value) for step, value in losses[position:] if not math.isfinite(value)), None)
        return history if broken is None else [*history, Validation(broken[0], {}, broken[1])]


def _median(losses: list[float]) -> float | None:
    broken = [value for value in losses if not math.isfinite(value)]
    return broken[0] if broken else statistics.median(losses) if losses else None


def _read_events(source: Path, files: list[Path]) -> RunLog:
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    launches: list[tuple[float, Path, Scalars]] = []
    for file in files:
        events = EventAccumulator(str(file), size_guidance={SCALARS: 0})
        events.Reload()
        names = [name for name in events.Tags()[SCALARS] if name != _NOT_A_CURVE]
        started = events.FirstEventTimestamp() if names else None
        if started is not None:
            scalars = {name: {event.step: event.value for event in events.Scalars(name)} for name in names}
            launches.append((started, file, scalars))
    if not launches:
        raise ValueError(f"{source}: no scalars in {'this event file' if len(files) == 1 else 'these event files'}")
    merged: Scalars = {}
    for _, _, launch in sorted(launches, key=lambda launch: launch[:2]):
        _continue(merged, launch)
    return RunLog(tuple(file for _, file, _ in launches), "step", _in_order(merged))


def _continue(past: Scalars, launch: Scalars) -> None:
    """Add what a later launch logged.

    A launch that trains repeats what the one before did after its last checkpoint: that past is gone. A launch that logged at a
    single step only evaluated a checkpoint, maybe with other settings: it fills gaps.
    """
    evaluated_only = len(set().union(*launch.values())) == 1
    repeated = [min(steps) for name, steps in launch.items() if name in past]
    if repeated and not evaluated_only:
        for steps in past.values():
            for step in [step for step in steps if step >= min(repeated)]:
                del steps[step]
    for name, steps in launch.items():
        earlier = past.setdefault(name, {})
        past[name] = steps | earlier if evaluated_only else earlier | steps


def _read_csv(path: Path) -> RunLog:
    """Read a CSV file with a header. Empty cells are missing values, columns with text are left out, the last value of a step counts."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: neither an event file (they have tfevents in their name) nor a CSV file") from error
    columns = {name.strip().lower(): name for name in reversed(names)}
    step_column = next((columns[name] for name in STEP_COLUMNS if name in columns), None)
    if step_column is None:
        raise ValueError(f"{path}: no step column, which is called {', '.join(STEP_COLUMNS[:-1])} or {STEP_COLUMNS[-1]}")
    scalars: Scalars = {}
    text: set[str] = set()
    for line, row in rows:
        if not (row[step_column] or "").strip():
            continue
        step = _whole_number(row[step_column], f"{path}, line {line}: {step_column}")
        for name, cell in row.items():
            if name in (None, step_column) or not cell or not cell.strip():
                continue
            try:
                scalars.setdefault(name.strip(), {})[step] = float(cell)
            except ValueError:
                text.add(name.strip())
    scalars = {name: values for name, values in scalars.items() if name not in text}
    if not scalars:
        raise ValueError(f"{path}: no column of numbers beside {step_column}")
    return RunLog((path,), step_column.strip(), _in_order(scalars))


def _whole_number(cell: str, place: str) -> int:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{place} is {cell!r}, not a whole number")
    return int(number)


def _in_order(scalars: Scalars) -> Scalars:
    return {name: dict(sorted(steps.items())) for name, steps in scalars.items() if steps}
