"""Measure what knee detection and the divergence guard cost: `python -m callbacks.bench`.

Runs a short training and times the hooks of both callbacks.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import lightning as L

from callbacks.divergence_guard import DivergenceGuard
from callbacks.knee_point import KneePointCallback
from lsr.batch import Batch
from lsr.training.cli import prepare_run

_PER_VALIDATION = ("on_validation_start", "on_validation_batch_end", "on_validation_end")
_PER_STEP = ("on_before_backward", "on_gradient_norm")


class Stopwatch(L.Callback):
    """Times training steps, validations, and hooks of other callbacks.

    Attributes:
        seconds: Seconds of each hook call, each "training step" and each "validation", by name.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._since = 0.0

    def watch(self, callback: L.Callback, names: tuple[str, ...]) -> None:
        """Time the hooks of a callback that have the given names."""
        for name in names:
            setattr(callback, name, self._timed(name, getattr(callback, name)))

    def _timed(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            result = hook(*arguments, **keywords)
            self.seconds[name].append(time.perf_counter() - start)
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
        self.seconds["training step"].append(time.perf_counter() - self._since)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the time of a validation."""
        self._since = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the time of a validation."""
        self.seconds["validation"].append(time.perf_counter() - self._since)

    def mean(self, *names: str) -> float:
        """Return the sum of the mean milliseconds of some entries, without each first call."""
        return sum(
            1e3 * sum(values[1:]) / max(len(values) - 1, 1)
            for values in (self.seconds[name] for name in names)
        )


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
                stopwatch.watch(callback, _PER_VALIDATION)
            if isinstance(callback, DivergenceGuard):
                stopwatch.watch(callback, _PER_STEP)
        cli.trainer.callbacks.append(stopwatch)  # pyright: ignore[reportAttributeAccessIssue]
        cli.trainer.fit(cli.model, cli.datamodule)
    lines = [
        "| what | ms | of | ms | share | target |",
        "|---|---|---|---|---|---|",
        _row(stopwatch, "knee, per validation", _PER_VALIDATION, "validation", target=1.0),
        _row(stopwatch, "guard, per step", _PER_STEP, "training step", target=0.5),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _row(stopwatch: Stopwatch, what: str, hooks: tuple[str, ...], whole: str, target: float) -> str:
    """Return a Markdown row that compares hooks with a whole step or a whole validation.

    Args:
        stopwatch: The measured times.
        what: Name of the row.
        hooks: Names of the hooks.
        whole: "training step" or "validation".
        target: Largest share in percent that the hooks should take; it is only printed.
    """
    own = stopwatch.mean(*hooks)
    all_of_it = stopwatch.mean(whole)
    share = 100 * own / all_of_it
    return f"| {what} | {own:.3f} | {whole} | {all_of_it:.1f} | {share:.2f} % | < {target} % |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "experiments/tiny/stage1.yaml"))
