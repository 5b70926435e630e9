"""Read the logged scalars of a run from TensorBoard event files or a CSV file.

File formats:

- Event files: any file whose name contains `tfevents`. Its scalars are read; a run folder may hold
  several such files, one for each launch of the run.
- CSV files: one header line, such as `metrics.csv` of `MetricsCSVLogger` and of Lightning's
  `CSVLogger`, or a table exported from another tool. One column is the step (see
  `lsr.runs.csv_log.STEP_COLUMNS`, whole numbers). Every other column that holds numbers is one
  scalar, named by its header.
"""

import math
import statistics
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from lsr.runs.csv_log import read_csv
from lsr.runs.event_log import read_events

_EVENT_FILE = "*tfevents*"
_METRICS_CSV = "metrics.csv"
# A placeholder that Lightning logs at step 0 of every launch, for TensorBoard's hyperparameters.
_NOT_A_CURVE = "hp_metric"

Scalars = dict[str, dict[int, float]]
"""Name of a scalar -> training step -> logged value."""


@dataclass(frozen=True)
class Validation:
    """The metrics of one validation of a run.

    Attributes:
        step: The training step of the validation.
        values: The value of each metric. A metric may be missing or non-finite.
        loss: The training loss since the previous validation, None if unknown.
        headroom: How many times larger the sums of attention may become until float16 overflows,
            see `lsr.models.attention_health`; None if unknown.
    """

    step: int
    values: dict[str, float]
    loss: float | None = None
    headroom: float | None = None


@dataclass(frozen=True)
class RunLog:
    """All scalars that a run logged.

    Attributes:
        files: The files that were read.
        step_name: The unit of the steps: `step`, or the name of the CSV column.
        scalars: The values of each scalar, by increasing step.
        repeated: For each scalar of a CSV file the steps at which it has several different values.
    """

    files: tuple[Path, ...]
    step_name: str
    scalars: Scalars
    repeated: dict[str, set[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "RunLog":
        """Read an event file, a CSV file or a run folder.

        In a run folder the event files are read; if there are none, `metrics.csv` is read.

        Raises:
            ValueError: If the path does not exist, the folder has no log, or the file has no
                scalars.
        """
        if path.is_dir():
            return _read_folder(path)
        if not path.is_file():
            raise ValueError(f"{path}: no such file or folder")
        return _read_events(path, [path]) if path.match(_EVENT_FILE) else _read_csv(path)

    def validations(
        self, metrics: Collection[str], loss: str | None = None, headroom: str | None = None
    ) -> list[Validation]:
        """Return the validations: the steps at which at least one of the metrics was logged.

        The loss of a validation is the median of the losses that were logged since the previous
        validation. If one of them is non-finite, the loss is that value, so that a median does not
        hide a divergence. A non-finite loss after the last validation becomes an additional
        `Validation` without metrics. A step at which a metric has several values comes twice.

        Args:
            metrics: Names of the metrics.
            loss: Name of the training loss, None to leave it out.
            headroom: Name of the headroom of float16; it may be missing in the log.

        Returns:
            The validations by increasing step.

        Raises:
            ValueError: If a name is not in the log.
        """
        wanted = [*metrics] if loss is None else [*metrics, loss]
        unknown = [name for name in wanted if name not in self.scalars]
        if unknown:
            raise ValueError(
                f"{self.files[0]}: no curve is called {', '.join(unknown)}; "
                f"there are {', '.join(sorted(self.scalars))}"
            )
        steps = sorted(set().union(*(self.scalars[name] for name in metrics)))
        losses = list(self.scalars[loss].items()) if loss is not None else []
        repeated = set().union(*(self.repeated.get(name, ()) for name in metrics))
        history = []
        position = 0
        for step in steps:
            recent = []
            while position < len(losses) and losses[position][0] <= step:
                recent.append(losses[position][1])
                position += 1
            values = {
                name: self.scalars[name][step] for name in metrics if step in self.scalars[name]
            }
            room = self.scalars.get(headroom or "", {}).get(step)
            validation = Validation(step, values, _median(recent), room)
            history += [validation, validation] if step in repeated else [validation]
        for step, value in losses[position:]:
            if not math.isfinite(value):
                return [*history, Validation(step, {}, value)]
        return history


def _median(losses: list[float]) -> float | None:
    """Return the first non-finite loss, else the median; None for an empty list."""
    for value in losses:
        if not math.isfinite(value):
            return value
    return statistics.median(losses) if losses else None


def _read_folder(folder: Path) -> RunLog:
    files = sorted(folder.glob(_EVENT_FILE))
    if files:
        return _read_events(folder, files)
    if (folder / _METRICS_CSV).is_file():
        return _read_csv(folder / _METRICS_CSV)
    found: set[str] = set()
    for name in (_EVENT_FILE, _METRICS_CSV):
        for depth in ("*", "*/*"):
            found |= {str(file.parent) for file in folder.glob(f"{depth}/{name}")}
    hint = f"; try {', '.join(sorted(found))}" if found else ""
    raise ValueError(f"{folder}: no event file and no {_METRICS_CSV} in this folder{hint}")


def _read_events(source: Path, files: list[Path]) -> RunLog:
    """Read event files and merge them in the order in which their launches started."""
    launches: list[tuple[float, Path, Scalars]] = []
    for file in files:
        started, scalars = read_events(file)
        scalars.pop(_NOT_A_CURVE, None)
        if started is not None and scalars:
            launches.append((started, file, scalars))
    if not launches:
        which = "this event file" if len(files) == 1 else "these event files"
        raise ValueError(f"{source}: no curves (scalars) in {which}; has the run logged any?")
    merged: Scalars = {}
    for _, _, launch in sorted(launches, key=lambda launch: launch[:2]):
        _continue(merged, launch)
    return RunLog(tuple(file for _, file, _ in launches), "step", _in_order(merged))


def _continue(past: Scalars, launch: Scalars) -> None:
    """Add the scalars of a later launch to those of the earlier launches.

    A launch that trains starts from the last checkpoint and logs the following steps again: the
    earlier values at and after its first repeated step are removed. A launch that logged at one
    step only evaluated a checkpoint, maybe with other settings: it removes and replaces nothing.

    Args:
        past: The scalars of the earlier launches; changed in place.
        launch: The scalars of the later launch.
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
    step_name, scalars, repeated = read_csv(path)
    return RunLog((path,), step_name, _in_order(scalars), repeated)


def _in_order(scalars: Scalars) -> Scalars:
    return {name: dict(sorted(steps.items())) for name, steps in scalars.items() if steps}
