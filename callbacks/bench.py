"""Measure what knee, attention health and divergence guard cost: `python -m callbacks.bench`.

Trains an experiment for 120 steps and times the hooks of knee and health in validations. Then
trains for 3,000 steps with one batch, leaves the guard out of about half of them, and compares the
two kinds of steps.
"""

import itertools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import lightning as L
import numpy as np

from callbacks.attention_health import AttentionHealth
from callbacks.divergence_guard import DivergenceGuard
from callbacks.knee_point import KneePointCallback
from callbacks.progress import TrainingProgress
from lsr.batch import Batch
from lsr.runs.table import markdown_table
from lsr.training.benchmark_command import run_benchmark
from lsr.training.unstarted import prepare_run

_STEPS = 120
"""Steps of the run in which validations are timed."""

_COMPARED_STEPS = 3000
"""Steps of the run that takes about half of them without the guard."""

_HEADER = ("what", "ms", "of", "ms", "share", "target")

_PER_VALIDATION = ("on_validation_start", "on_validation_batch_end", "on_validation_end")
_OF_HEALTH = ("on_validation_batch_start", "on_validation_batch_end")
_PER_STEP = (
    "on_train_batch_start",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


class Stopwatch(L.Callback):
    """Times validations, and the hooks of other callbacks in them.

    Has to be the last callback of the trainer.

    Attributes:
        seconds: Seconds of each validation.
        of_hooks: Seconds of all hooks of each watched callback in each validation, by its row.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.of_hooks: dict[str, list[float]] = defaultdict(list)
        self._since = 0.0
        self._hooks: dict[str, float] = defaultdict(float)

    def watch(self, callback: L.Callback, names: Sequence[str], row: str) -> None:
        """Time the hooks of a callback that have the given names."""
        self.of_hooks[row] = []
        for name in names:
            setattr(callback, name, self._timed(row, getattr(callback, name)))

    def _timed(self, row: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            result = hook(*arguments, **keywords)
            self._hooks[row] += time.perf_counter() - start
            return result

        return call

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the time of a validation."""
        self._since = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the time of a validation."""
        self.seconds.append(time.perf_counter() - self._since)
        for row, seconds in self.of_hooks.items():
            seconds.append(self._hooks.pop(row, 0.0))

    def rows(self) -> list[list[str]]:
        """Return the rows of the table, from medians: other processes may delay single validations.

        The first validation is left out.
        """
        whole = median(self.seconds[1:])
        return [
            _row(row, median(seconds[1:]), "validation", whole)
            for row, seconds in self.of_hooks.items()
        ]


class Comparison(L.Callback):
    """Leaves out the hooks of another callback in about half of the steps, and times all steps.

    The time inside the hooks is not what they add to a step: the clipping reads gradients faster
    after the hooks have read them, and memory that the hooks free would be freed elsewhere. Has to
    be the first callback of the trainer.

    Args:
        callback: The other callback.
        names: Names of its hooks.
    """

    def __init__(self, callback: L.Callback, names: Sequence[str]) -> None:
        self._generator = np.random.default_rng(0)
        self._seconds: dict[bool, list[float]] = {True: [], False: []}
        self._works = True
        self._since = 0.0
        for name in names:
            setattr(callback, name, self._sometimes(getattr(callback, name)))

    def _sometimes(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            return hook(*arguments, **keywords) if self._works else None

        return call

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Start the time of a step."""
        self._works = bool(self._generator.random() < 0.5)
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
        self._seconds[self._works].append(time.perf_counter() - self._since)

    def row(self, what: str) -> list[str]:
        """Return the row of the table: the difference of the medians, with its standard error."""
        having, lacking = (np.array(self._seconds[works]) for works in (True, False))
        draws = [
            np.median(self._generator.choice(having, len(having)))
            - np.median(self._generator.choice(lacking, len(lacking)))
            for _ in range(200)
        ]
        whole = float(np.median(lacking))
        cost = float(np.median(having)) - whole
        return _row(what, cost, "training step", whole, error=float(np.std(draws)))


def main(config: str) -> int:
    """Run an experiment twice, print a table, and return 0.

    Args:
        config: YAML file of the experiment.
    """
    rows = [*_of_validations(config), *_of_steps(config)]
    sys.stdout.write(markdown_table(_HEADER, rows) + "\n")
    return 0


def _of_validations(config: str) -> list[list[str]]:
    """Return the rows of knee and health."""
    with tempfile.TemporaryDirectory() as folder:
        cli = prepare_run(
            config, folder, max_steps=_STEPS, val_check_interval=10, num_sanity_val_steps=0
        )
        stopwatch = Stopwatch()
        for callback in cli.trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(callback, KneePointCallback):
                stopwatch.watch(callback, _PER_VALIDATION, "knee, per validation")
            if isinstance(callback, AttentionHealth):
                stopwatch.watch(callback, _OF_HEALTH, "health, per validation")
            if isinstance(callback, TrainingProgress):
                callback.validation_share = 1.0  # validations are frequent here on purpose
        if not stopwatch.of_hooks:
            return []
        cli.trainer.callbacks.append(stopwatch)  # pyright: ignore[reportAttributeAccessIssue]
        cli.trainer.fit(cli.model, cli.datamodule)
    return stopwatch.rows()


def _of_steps(config: str) -> list[list[str]]:
    """Return the row of the guard."""
    with tempfile.TemporaryDirectory() as folder:
        cli = prepare_run(
            config,
            folder,
            max_steps=_COMPARED_STEPS,
            val_check_interval=_COMPARED_STEPS,
            limit_val_batches=0,
            num_sanity_val_steps=0,
        )
        callbacks = cli.trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        guards = [each for each in callbacks if isinstance(each, DivergenceGuard)]
        if not guards:
            return []
        comparison = Comparison(guards[0], _PER_STEP)
        callbacks.insert(0, comparison)
        loader = cli.datamodule.train_dataloader
        # One batch again and again: a process that loads batches would disturb every second step.
        cli.datamodule.train_dataloader = lambda: itertools.repeat(next(iter(loader())))
        cli.trainer.fit(cli.model, cli.datamodule)
    return [comparison.row("guard, per step")]


def _row(what: str, cost: float, whole: str, total: float, error: float | None = None) -> list[str]:
    """Return a row of the table that compares a cost with a whole step or a whole validation.

    Args:
        what: Name of the row.
        cost: Seconds that the callback costs.
        whole: "training step" or "validation".
        total: Seconds of the whole.
        error: Standard error of `cost` in seconds.
    """
    texts = [f"{1e3 * cost:.3f}", f"{100 * cost / total:.2f}"]
    if error is not None:
        texts = [f"{texts[0]} ± {1e3 * error:.3f}", f"{texts[1]} ± {100 * error / total:.2f}"]
    return [what, texts[0], whole, f"{1e3 * total:.1f}", f"{texts[1]} %", "< 1 %"]


if __name__ == "__main__":
    sys.exit(run_benchmark(main, "callbacks.bench", __doc__))
