"""TrainingProgress: shows a run as a progress bar, or as plain lines without a terminal."""

import contextlib
import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lsr.batch import Batch
from lsr.console.progress_bar import line_a_minute, time_left

_PATIENCE = 60.0
"""Seconds of validation before its share of the time is reported."""


class TrainingProgress(ProgressBar):
    """Shows optimiser steps, images per second, time left, loss and the last validation.

    On a terminal this is a bar; otherwise (log file, CI) it is one line per validation, and one per
    minute in training, validation, test and prediction. Images per
    second are counted over all ranks and logged as `throughput/images_per_s`. A message appears
    once if validation has taken more than its share of the time, and more than a minute.

    Args:
        refresh_s: Seconds between two updates of the bar and of the rate.
        validation_share: Share of the time, in [0, 1], above which validation is reported as slow.
    """

    def __init__(self, refresh_s: float = 0.5, validation_share: float = 0.5) -> None:
        super().__init__()
        self.refresh_s = refresh_s
        self.validation_share = validation_share
        self._console = Console(file=sys.stderr)
        self._progress: Progress | None = None
        self._enabled = True
        self._images = 0
        self._rate = 0.0
        self._since = 0.0
        self._started = 0.0
        self._batches = 0
        self._lines = contextlib.ExitStack()
        self._doing = "preparing"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin to print a line a minute if there is no terminal."""
        super().setup(trainer, pl_module, stage)
        if self._enabled and not self._console.is_terminal:
            self._lines.enter_context(line_a_minute(lambda: self._print(self._doing)))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Print no more lines."""
        self._lines.close()

    def disable(self) -> None:
        """Hide the bar and the lines; Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bar and the lines again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the run folder and open the bar."""
        self._said = -1
        self._images = 0
        self._rate = 0.0
        if self._enabled:
            self._print(f"run folder: {trainer.default_root_dir}")
        self._started = time.monotonic()
        self._since = self._started
        self._validation_began = self._started
        self._validating = 0.0
        self._warned = False
        self._first_step = trainer.global_step
        if self._enabled and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.0f} images/s"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}"),
                console=self._console,
                auto_refresh=False,
            )
            self._progress.start()
            total = trainer.max_steps if trainer.max_steps > 0 else None
            self._task = self._progress.add_task(
                "training", total=total, completed=trainer.global_step, rate=0.0, values=""
            )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count the images, and update rate and bar every `refresh_s` seconds."""
        self._doing = f"step {trainer.global_step}{self._remaining(trainer)}"
        self._images += len(batch["seed"]) * trainer.world_size
        now = time.monotonic()
        if now - self._since < self.refresh_s:
            return
        self._rate = self._images / (now - self._since)
        self._images = 0
        self._since = now
        pl_module.log("throughput/images_per_s", self._rate)
        if self._progress is not None:
            self._progress.update(
                self._task,
                completed=trainer.global_step,
                rate=self._rate,
                values=self._values(trainer, pl_module),
            )
            self._progress.refresh()

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Count the batch for the line a minute."""
        self._count(trainer, "validating")

    def on_test_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Count the batch for the line a minute."""
        self._count(trainer, "testing")

    def on_predict_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Count the batch for the line a minute."""
        self._count(trainer, "predicting")

    def _count(self, trainer: L.Trainer, work: str) -> None:
        """Set the line a minute to the number of finished batches of a kind of work."""
        same = self._doing.startswith(f"step {trainer.global_step}: {work}")
        self._batches = self._batches + 1 if same else 1
        self._doing = f"step {trainer.global_step}: {work}, batch {self._batches}"

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show that the run is validating, and measure the rate of the steps before."""
        self._validation_began = time.monotonic()
        seconds = self._validation_began - self._since
        if self._images and seconds > 0:  # validations may come faster than updates
            self._rate = self._images / seconds
            self._images = 0
        if self._progress is not None:
            self._progress.update(self._task, description="validating")
            self._progress.refresh()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print a line per validation, and leave its time out of the training rate."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._images = 0
        self._since = time.monotonic()
        self._validating += self._since - self._validation_began
        if self._progress is not None:
            self._progress.update(self._task, description="training", completed=trainer.global_step)
        self._say(trainer, pl_module)
        share = self._validating / (self._since - self._started)
        if (
            self._enabled
            and not self._warned
            and share > self.validation_share
            and self._validating > _PATIENCE
        ):
            self._warned = True
            advice = (
                "fewer images (data.max_images), cheaper metrics (model.val_metrics) "
                "or a longer trainer.val_check_interval"
            )
            self._print(f"validation has taken {share:.0%} of the time so far: {advice}")

    def _say(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._said = trainer.global_step
        if self._enabled:
            self._print(
                f"step {trainer.global_step}{self._remaining(trainer)}  "
                f"{self._values(trainer, pl_module)}"
            )

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the line of the last step, unless it is printed already, and close the bar."""
        if self._said != trainer.global_step:
            self._say(trainer, pl_module)
        if self._progress is not None:
            self._progress.update(self._task, completed=trainer.global_step)
            self._progress.stop()
            self._progress = None

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar, so that the terminal works as before."""
        self._lines.close()
        if self._progress is not None:
            self._progress.stop()

    def _remaining(self, trainer: L.Trainer) -> str:
        done = trainer.global_step - self._first_step
        if trainer.max_steps <= 0 or not done:
            return ""
        known = f" of {trainer.max_steps}, {self._rate:.0f} images/s"
        steps = trainer.max_steps - trainer.global_step
        if not steps:
            return known
        return f"{known}, {time_left(steps * (time.monotonic() - self._started) / done)}"

    def _values(self, trainer: L.Trainer, pl_module: L.LightningModule) -> str:
        values = {k: v for k, v in self.get_metrics(trainer, pl_module).items() if k != "v_num"}
        return "  ".join(
            f"{name} {float(value):.4g}"
            for name, value in values.items()
            if not isinstance(value, (dict, str))
        )
