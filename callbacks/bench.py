"""Measure what knee, attention health and divergence guard cost: `python -m callbacks.bench`.

Runs a short training and times the hooks of these callbacks.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import lightning as L

from callbacks.attention_health import AttentionHealth
from callbacks.divergence_guard import DivergenceGuard
from callbacks.knee_point import KneePointCallback
from callbacks.progress import TrainingProgress
from lsr.batch import Batch
from lsr.training.benchmark_command import run_benchmark
from lsr.training.unstarted import prepare_run

_PER_VALIDATION = ("on_validation_start", "on_validation_batch_end", "on_validation_end")
_OF_HEALTH = ("on_validation_batch_start", "on_validation_batch_end")
_PER_STEP = (
    "on_train_batch_start",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


class Stopwatch(L.Callback):
    """Times training steps and validations, and the hooks of other callbacks in them.

    Has to be the last callback of the trainer.

    Attributes:
        seconds: Seconds of each "training step" and each "validation".
        of_hooks: Seconds of all hooks of each watched callback in each of them, by its row.
        rows: For each row of a watched callback, what its hooks are a part of.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.of_hooks: dict[str, list[float]] = defaultdict(list)
        self.rows: dict[str, str] = {}
        self._since = 0.0
        self._hooks: dict[str, float] = defaultdict(float)

    def watch(self, callback: L.Callback, names: tuple[str, ...], row: str, whole: str) -> None:
        """Time the hooks of a callback that have the given names, as a part of `whole`."""
        self.rows[row] = whole
        for name in names:
            setattr(callback, name, self._timed(row, getattr(callback, name)))

    def _timed(self, row: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            result = hook(*arguments, **keywords)
            self._hooks[row] += time.perf_counter() - start
            return result

        return call

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Start the time of a step."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Record the time of a step."""
        self._record("training step")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the time of a validation."""
        self._since = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the time of a validation."""
        self._record("validation")

    def _record(self, whole: str) -> None:
        self.seconds[whole].append(time.perf_counter() - self._since)
        for row in [row for row, part_of in self.rows.items() if part_of == whole]:
            self.of_hooks[row].append(self._hooks.pop(row, 0.0))


def main(config: str) -> int:
    """Run an experiment for 120 steps, print a table, and return 0.

    Args:
        config: YAML file of the experiment.
    """
    with tempfile.TemporaryDirectory() as folder:
        cli = prepare_run(
            config, folder, max_steps=120, val_check_interval=10, num_sanity_val_steps=0
        )
        stopwatch = Stopwatch()
        for callback in cli.trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(callback, KneePointCallback):
                stopwatch.watch(callback, _PER_VALIDATION, "knee, per validation", "validation")
            if isinstance(callback, AttentionHealth):
                stopwatch.watch(callback, _OF_HEALTH, "health, per validation", "validation")
            if isinstance(callback, DivergenceGuard):
                stopwatch.watch(callback, _PER_STEP, "guard, per step", "training step")
            if isinstance(callback, TrainingProgress):
                callback.validation_share = 1.0  # validations are frequent here on purpose
        cli.trainer.callbacks.append(stopwatch)  # pyright: ignore[reportAttributeAccessIssue]
        cli.trainer.fit(cli.model, cli.datamodule)
    lines = [
        "| what | ms | of | ms | share | target |",
        "|---|---|---|---|---|---|",
        *(_row(stopwatch, what, whole, target=1.0) for what, whole in stopwatch.rows.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _row(stopwatch: Stopwatch, what: str, whole: str, target: float) -> str:
    """Return a Markdown row that compares hooks with a whole step or a whole validation.

    The numbers are medians: other processes may delay single steps. The first step and the first
    validation are left out.

    Args:
        stopwatch: The measured times.
        what: Name of the row.
        whole: "training step" or "validation".
        target: Largest share in percent that the hooks should take; it is only printed.
    """
    own = 1e3 * median(stopwatch.of_hooks[what][1:])
    all_of_it = 1e3 * median(stopwatch.seconds[whole][1:])
    share = 100 * own / all_of_it
    return f"| {what} | {own:.3f} | {whole} | {all_of_it:.1f} | {share:.2f} % | < {target} % |"


if __name__ == "__main__":
    sys.exit(run_benchmark(main, "callbacks.bench", __doc__))
