"""Measure whether the data keep up with training.

`python -m datamodules.bench EXPERIMENT.yaml` trains for 120 steps and times loader and steps.
"""

import itertools
import sys
import tempfile
import time
from typing import Any

import lightning as L
import torch

from lsr.training.benchmark_command import run_benchmark
from lsr.training.unstarted import prepare_run

_STEPS = 100
_WARM_UP = 20


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class DataClock(L.Callback):
    """Times the loader alone, and in training the steps and the time between them.

    The time between two steps is spent on waiting for the batch, its transfer, and a degradation on
    the device.

    Attributes:
        loader: Images per second of the loader while nothing else runs.
        working: Seconds of all timed steps, from the batch on the device to the updated weights.
        between: Seconds between these steps.
        images: Number of images in these steps.
    """

    def __init__(self) -> None:
        self.loader = 0.0
        self.working = 0.0
        self.between = 0.0
        self.images = 0
        self._last = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time the loader alone."""
        run: Any = trainer  # Lightning does not declare the attribute `datamodule`
        batches = iter(run.datamodule.train_dataloader())
        for _ in range(_WARM_UP):
            next(batches)
        start = time.perf_counter()
        images = sum(len(batch["seed"]) for batch in itertools.islice(batches, _STEPS))
        self.loader = images / (time.perf_counter() - start)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Add the time since the last step to `between`."""
        now = _now()
        if trainer.global_step >= _WARM_UP:
            self.between += now - self._last
        self._last = now

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the time of the step to `working`."""
        now = _now()
        if trainer.global_step > _WARM_UP:
            self.working += now - self._last
            self.images += len(batch["seed"])
        self._last = now


def main(config: str) -> int:
    """Train an experiment for some steps without validation and print a table; return 0."""
    with tempfile.TemporaryDirectory() as folder:
        cli = prepare_run(
            config, folder, max_steps=_WARM_UP + _STEPS, limit_val_batches=0, num_sanity_val_steps=0
        )
        clock = DataClock()
        cli.trainer.callbacks.append(clock)  # pyright: ignore[reportAttributeAccessIssue]
        cli.trainer.fit(cli.model, cli.datamodule)
    total = clock.working + clock.between
    lines = (
        "| what | images/s |",
        "|---|---|",
        f"| loader alone, {cli.datamodule.num_workers} workers | {clock.loader:.0f} |",
        f"| training steps alone | {clock.images / clock.working:.0f} |",
        f"| training | {clock.images / total:.0f} |",
        "\ndata (waiting, transfer, degradation on a device): "
        f"{100 * clock.between / total:.1f} % of the time",
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main, "datamodules.bench", __doc__))
