"""Lightning logger that writes `metrics.csv` and keeps its rows when a run is resumed.

The CSV logger of Lightning is not used because it deletes the file of the run that it continues.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lsr.errors import first_clause
from lsr.files import atomic_path
from lsr.reading.texts import mend_lines

_STEP = "step"


class MetricsCSVLogger(Logger):
    """Write the logged metrics of a run to `<save_dir>/metrics.csv`.

    File format: comma-separated values with one header line. The first column is `step` (an
    integer, increasing, each step once). Every other column is one logged metric, named as it was
    logged (for example `train/loss` or `val/psnr_y`), in the order of first appearance. The cell of
    a metric that was not logged at a step is empty. Lightning's `epoch` is not written.

    A resumed run keeps the rows before its first step. It drops the later rows: the killed run
    wrote them after its last checkpoint, and the resumed run logs these steps again. A last row
    that a crash has torn is dropped with a warning.

    Args:
        save_dir: The run folder.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self._path = Path(save_dir) / "metrics.csv"
        self._rows: dict[int, dict[str, Any]] | None = None
        self._columns: list[str] = [_STEP]
        self._is_saved = True

    @property
    def name(self) -> str:
        """Return an empty name: the logger needs no subfolder of the run folder."""
        return ""

    @property
    def version(self) -> str:
        """Return an empty version: the logger needs no subfolder of the run folder."""
        return ""

    @property
    def save_dir(self) -> str:
        """Return the run folder."""
        return str(self._path.parent)

    @property
    @rank_zero_experiment
    def experiment(self) -> "MetricsCSVLogger":
        """Return the logger itself."""
        return self

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `config.yaml` in the run folder has the hyperparameters."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of `step`; the first call reads the file of a resumed run."""
        assert step is not None
        if self._rows is None:
            self._rows = self._rows_before(step)
        row = self._rows.setdefault(step, {_STEP: step})
        row.update({name: float(value) for name, value in metrics.items() if name != "epoch"})
        self._columns += [name for name in row if name not in self._columns]
        self._is_saved = False

    def _rows_before(self, step: int) -> dict[int, dict[str, Any]]:
        """Return the rows of an existing file before `step`, and take over its columns."""
        if not self._path.is_file():
            return {}
        mend_lines(self._path, is_whole=lambda row: False)
        with self._path.open(newline="") as file:
            reader = csv.DictReader(file)
            try:
                rows = {int(row[_STEP]): row for row in reader}
            except (ValueError, KeyError, csv.Error) as error:
                raise ValueError(
                    f"{self._path}, line {reader.line_num}: not a row of this logger "
                    f"({first_clause(error)}): remove it, or move the file away"
                ) from None
            self._columns = list(reader.fieldnames or [_STEP])
        return {logged: row for logged, row in rows.items() if logged < step}

    @rank_zero_only
    def save(self) -> None:
        """Write the whole file again, atomically, if there is anything new."""
        if self._is_saved or not self._rows:
            return
        with atomic_path(self._path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows[step] for step in sorted(self._rows))
        self._is_saved = True

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Write the file after each checkpoint, so that a resumed run finds every earlier row."""
        self.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the rows that were logged after the last checkpoint."""
        self.save()
