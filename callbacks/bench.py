"""What knee detection and the divergence guard cost: `python -m callbacks.bench` runs a short training and times their hooks."""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import lightning as L

from callbacks.divergence_guard import DivergenceGuard
from callbacks.knee_point import KneePointCallback
from lsr.training.cli import prepare_run

_PER_VALIDATION = ("on_validation_start", "on_validation_batch_end", "on_validation_end")
_PER_STEP = ("on_before_backward", "on_gradient_norm")


class Stopwatch(L.Callback):
    """Times whole training steps and whole validations, the first of each left out.

    Attributes:
        seconds: For each measured thing the seconds it took, one entry per validation or step.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._since = 0.0

    def watch(self, callback: L.Callback, names: tuple[str, ...]) -> None:
        """Time the hooks `names` of a callback."""
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
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start a step."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """End a step."""
        self.seconds["step"].append(time.perf_counter() - self._since)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start a validation."""
        self._since = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End a validation."""
        self.seconds["validation"].append(time.perf_counter() - self._since)

    def mean(self, *names: str) -> float:
        """Return the summed mean milliseconds of some entries."""
        return sum(
            1e3 * sum(values[1:]) / max(len(values) - 1, 1)
            for values in (self.seconds[name] for name in names)
        )


def main(config: str) -> int:
    """Run the experiment for a while and print a table; returns 0."""
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
    rows = (
        (
            "knee, per validation",
            stopwatch.mean(*_PER_VALIDATION),
            "validation",
            stopwatch.mean("validation"),
            1.0,
        ),
        (
            "guard, per step",
            stopwatch.mean(*_PER_STEP),
            "training step",
            stopwatch.mean("step"),
            0.5,
        ),
    )
    lines = ["| what | ms | of | ms | share | target |", "|---|---|---|---|---|---|"]
    for what, own, of, whole, target in rows:
        lines.append(
            f"| {what} | {own:.3f} | {of} | {whole:.1f} | {100 * own / whole:.2f} % | < {target} % |"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "experiments/tiny/stage1.yaml"))
