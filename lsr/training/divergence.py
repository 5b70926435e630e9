"""Detection of diverged training, and the report that a diverged run leaves behind."""

import json
import logging
import math
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

import lightning as L
import numpy as np
import torch
from torch import Tensor

from lsr.distributed.tensors import on_all_ranks, own_part
from lsr.files import atomic_path

log = logging.getLogger(__name__)

REPORT = "divergence.json"
"""Name of the report in the folder of a run that has diverged."""


class DivergenceError(RuntimeError):
    """Training has diverged. The command line turns this into exit code 3."""


@runtime_checkable
class RecordsSteps(Protocol):
    """A callback that remembers the latest training steps for the report.

    Attributes:
        recent_steps: Step, batch, loss and gradient norm of each of the latest steps, oldest first.
    """

    recent_steps: Sequence[dict[str, Any]]


class RobustScore:
    """How far a new value lies from the recent ones, in robust standard deviations.

    The score of x is `z = (ln x - median) / (1.4826 MAD)`, with the median and the median absolute
    deviation (MAD) of the logarithms in a window of accepted values. Losses and gradient norms are
    positive and skewed, hence the logarithm; median and MAD, unlike mean and standard deviation, do
    not follow the outliers that they are used to find. For a normal distribution 1.4826 MAD is the
    standard deviation. Denominators below 0.01 are raised to 0.01.

    Args:
        window: Number of values remembered.
        warm_up: Number of values needed before a value is judged.
    """

    def __init__(self, window: int = 300, warm_up: int = 50) -> None:
        self.warm_up = warm_up
        self.values: deque[float] = deque(maxlen=window)

    def __call__(self, value: float) -> float:
        """Return the score of `value`: 0 during warm-up, infinity for a non-finite value."""
        if not math.isfinite(value):
            return math.inf
        if len(self.values) < self.warm_up:
            return 0.0
        known = np.array(self.values)
        median = _median(known)
        return (_log(value) - median) / max(1.4826 * _median(np.abs(known - median)), 0.01)

    def accept(self, value: float) -> None:
        """Add a value to the window."""
        self.values.append(_log(value))


def _median(values: np.ndarray) -> float:
    # np.median takes ten times as long for a few hundred values, and this runs at every step.
    ordered = np.sort(values)
    half = len(ordered) // 2
    return float(ordered[half] + ordered[-half - 1]) / 2


def _log(value: float) -> float:
    return math.log(max(value, 1e-30))


def non_finite(named: Iterable[tuple[str, Tensor | None]], limit: int = 10) -> list[str]:
    """Return the names of the first tensors that hold NaN or infinity.

    With sharded tensors every rank has to call this function; all ranks get the same answer.

    Args:
        named: Names and tensors; None in place of a tensor is passed over.
        limit: Number of names returned at most.
    """
    known = [(name, tensor) for name, tensor in named if tensor is not None]
    if not known:
        return []
    finite = on_all_ranks(
        torch.stack([torch.isfinite(own_part(tensor)).all() for _, tensor in known]), known[0][1]
    )
    return [name for (name, _), good in zip(known, finite.tolist(), strict=True) if not good][
        :limit
    ]


def remove_report(trainer: L.Trainer) -> None:
    """Delete the report of an earlier launch: a report at the end of a run is about this launch."""
    if trainer.is_global_zero:
        (Path(trainer.default_root_dir) / REPORT).unlink(missing_ok=True)


def check_weights(trainer: L.Trainer, module: L.LightningModule) -> None:
    """End the run if weights are not finite. Every rank has to call this at the same step.

    Raises:
        DivergenceError: If a weight is NaN or infinite.
    """
    if non_finite(module.named_parameters(), limit=1):
        end_diverged(trainer, module, "the weights are not finite")


def end_diverged(trainer: L.Trainer, module: L.LightningModule, reason: str) -> NoReturn:
    """Write the report and end the run. Every rank has to call this function at the same step.

    Args:
        trainer: The trainer. The report lists the steps of its callbacks of type `RecordsSteps`.
        module: The module that is trained.
        reason: What diverged, for the report and the error message.

    Raises:
        DivergenceError: Always.
    """
    path = Path(trainer.default_root_dir) / REPORT
    callbacks: Sequence[object] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    report = {
        "step": trainer.global_step,
        "reason": reason,
        "non_finite_weights": non_finite(module.named_parameters()),
        "non_finite_gradients": non_finite((name, p.grad) for name, p in module.named_parameters()),
        "lr": [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups],
        "recent": [
            step
            for callback in callbacks
            if isinstance(callback, RecordsSteps)
            for step in callback.recent_steps
        ],
    }
    if trainer.is_global_zero:
        try:
            write_report(path, report)
        except OSError as error:
            # A full disk must not keep this rank from stopping together with the others.
            log.error("%s cannot be written: %s", path, error)
    trainer.strategy.barrier("divergence")
    raise DivergenceError(f"diverged at step {trainer.global_step}: {reason}; see {path}")


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report of plain values as JSON, atomically.

    JSON has no NaN and no infinity: they are written as the strings "nan", "inf" and "-inf".
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_plain(report), indent=2) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
