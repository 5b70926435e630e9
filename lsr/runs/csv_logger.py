"""metrics.csv that survives a resume: Lightning's own logger deletes the file of the run it continues."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lsr.files import atomic_path

_STEP = "step"


class MetricsCSVLogger(Logger):
    """Writes one row per step to `<save_dir>/metrics.csv`, with a column per metric.

    A resumed run keeps the rows before its first step and drops those that a killed run had written beyond its last
    checkpoint, so every step stands in the file once.

    Args:
        save_dir: The run folder.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self._path = Path(save_dir) / "metrics.csv"
        self._rows: dict[int, dict[str, Any]] | None = None
        self._columns: list[str] = [_STEP]

    @property
    def name(self) -> str:
        """No folder of its own inside the run folder."""
        return ""

    @property
    def version(self) -> str:
        """No folder of its own inside the run folder."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._path.parent)

    @property
    @rank_zero_experiment
    def experiment(self) -> "MetricsCSVLogger":
        """The logger itself."""
        return self

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The configuration is saved beside the file."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of `step`."""
        assert step is not None
        if self._rows is None:
            self._rows = {}
            if self._path.is_file():
                with self._path.open(newline="") as file:
                    reader = csv.DictReader(file)
                    self._rows = {int(row[_STEP]): row for row in reader if int(row[_STEP]) < step}
                    self._columns = list(reader.fieldnames or [_STEP])
        row = self._rows.setdefault(step, {_STEP: step})
        row.update({name: float(value) for name, value in metrics.items() if name != "epoch"})
        self._columns += [name for name in row if name not in self._columns]

    @rank_zero_only
    def save(self) -> None:
        """Write the file anew."""
        if not self._rows:
            return
        with atomic_path(self._path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows[step] for step in sorted(self._rows))

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """A checkpoint and the rows before it become durable together."""
        self.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()
