"""Callback that records each launch of a run: command, hardware, versions, time, and its end."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from shlex import join
from typing import Any

import lightning as L

from lsr import __version__
from lsr.errors import first_clause
from lsr.runs.launches import FINISHED, Launch, read_launches, write_launches
from lsr.runs.machine import hardware, versions
from lsr.training.divergence import DivergenceError

log = logging.getLogger(__name__)

_PACKAGES = ("torch", "lightning", "torchmetrics", "pyiqa", "numpy")
"""Packages that influence a run."""


class LaunchRecord(L.Callback):
    """Writes `launches.json` in the run folder, on rank 0. `lsr fit` adds it to every run.

    It is written when training begins, after every validation, and at the end: a killed launch has
    the time of its last validation, and no end.

    Args:
        arguments: The command line, without the name of the program.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._command = join(["lsr", *arguments])
        self._launches: list[Launch] = []
        self._began = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add this launch to those of the run."""
        run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
        if run.fast_dev_run or not run.is_global_zero:
            return
        self._began = time.monotonic()
        try:
            self._launches = read_launches(Path(trainer.default_root_dir))
        except ValueError as error:
            log.warning("%s: it is begun anew", error)
            self._launches = []
        self._launches.append(
            Launch(
                command=self._command,
                started=datetime.now(UTC).isoformat(timespec="seconds"),
                hardware=_hardware(trainer),
                versions={"lsr": __version__} | versions(_PACKAGES),
                first_step=trainer.global_step,
                step=trainer.global_step,
            )
        )
        self._write(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record how far the run is."""
        self._write(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record that training has come to its end."""
        self._write(trainer, FINISHED)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Record why training has ended early."""
        self._write(trainer, _end(exception))

    def _write(self, trainer: L.Trainer, ended: str = "") -> None:
        """Write the record, unless this rank or this kind of run has none."""
        if not self._launches:
            return
        newest = self._launches[-1]
        newest.step = trainer.global_step
        newest.seconds = round(time.monotonic() - self._began, 1)
        newest.ended = ended
        try:
            write_launches(Path(trainer.default_root_dir), self._launches)
        except OSError as error:
            log.warning("the launch is not recorded: %s", error)


def _hardware(trainer: L.Trainer) -> dict[str, Any]:
    """Return the hardware of rank 0, the number of ranks and the precision."""
    found = hardware(str(trainer.strategy.root_device))
    return found | {"processes": trainer.world_size, "precision": str(trainer.precision)}


def _end(exception: BaseException) -> str:
    if isinstance(exception, DivergenceError):
        return "diverged"
    if isinstance(exception, KeyboardInterrupt | SystemExit):
        return "interrupted"
    return f"failed: {type(exception).__name__}: {first_clause(exception)}"
