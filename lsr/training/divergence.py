"""Detection of diverged training, and the report that a diverged run leaves behind."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerStatus
from torch import Tensor

from lsr.distributed.ranks import of_all_ranks
from lsr.distributed.tensors import norms_of, numbers_of, on_all_ranks
from lsr.files import nan_as_text, write_json

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


@runtime_checkable
class KnowsHealth(Protocol):
    """A callback that measures the state of the model for the report.

    Attributes:
        health: The latest values by name.
    """

    health: dict[str, float]


@torch.no_grad()
def non_finite(
    named: Iterable[tuple[str, Tensor | None]], limit: int = 10, together: bool = True
) -> list[str]:
    """Return the names of the first tensors that hold NaN or infinity on any rank.

    Args:
        named: Names and tensors, with the same names on every rank; None in place of a tensor is
            passed over.
        limit: Number of names returned at most.
        together: Whether the ranks agree on the answer: all of them must call this function.
    """
    known = dict(named)
    if not known:
        return []
    there = {name: t for name, t in known.items() if t is not None and not _is_integer(t)}
    finite = dict.fromkeys(known, True)
    device = None
    if there:
        norms = norms_of(list(there.values()))
        device = norms.device
        for name, good in zip(there, torch.isfinite(norms).tolist(), strict=True):
            # The norm of finite numbers may be too large for float32.
            finite[name] = good or bool(torch.isfinite(numbers_of(there[name])).all())
    flags = torch.tensor(list(finite.values()), device=device)
    return agreed_names(list(finite), flags, limit, together)


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


def agreed_names(
    names: Sequence[str], finite: Tensor, limit: int = 10, together: bool = True
) -> list[str]:
    """Return the first names whose flag in `finite` (N,), bool, is False on any rank.

    See `non_finite` for the other arguments.
    """
    if together:
        finite = on_all_ranks(finite)
    return [name for name, good in zip(names, finite.tolist(), strict=True) if not good][:limit]


def remove_report(trainer: L.Trainer) -> None:
    """Delete the report of an earlier launch: a report at the end of a run is about this launch."""
    run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
    if run.is_global_zero and not run.fast_dev_run:
        (Path(trainer.default_root_dir) / REPORT).unlink(missing_ok=True)


def check_weights(trainer: L.Trainer, module: L.LightningModule) -> None:
    """End the run if weights are not finite on any rank.

    Every rank has to call this at the same step, unless the run is ending by an exception: then a
    rank checks its own weights only, because the others may have stopped at another place.

    Raises:
        DivergenceError: If a weight is NaN or infinite.
    """
    run: Any = trainer  # Lightning does not declare the attribute `state`
    together = run.state.status != TrainerStatus.INTERRUPTED
    if not non_finite(module.named_parameters(), 1, together):
        return
    if not together:
        raise DivergenceError(
            f"the weights are not finite at step {trainer.global_step}: no checkpoint is written"
        )
    end_diverged(trainer, module, "the weights are not finite")


def end_diverged(
    trainer: L.Trainer,
    module: L.LightningModule,
    reason: str,
    step: int | None = None,
    gradients: Sequence[str] | None = None,
    samples: Mapping[str, Any] | None = None,
) -> NoReturn:
    """Write the report and end the run. Every rank has to call this function at the same step.

    Args:
        trainer: The trainer. The report lists the steps of its callbacks of type `RecordsSteps`,
            and the latest values of those of type `KnowsHealth`.
        module: The module that is trained.
        reason: What diverged, for the report and the error message.
        step: Optimiser step that diverged; None is the current one.
        gradients: Names of the first weights whose gradients were not finite; None looks at the
            current gradients.
        samples: What identifies the samples of the step on this rank; the report lists all ranks.

    Raises:
        DivergenceError: Always.
    """
    path = Path(trainer.default_root_dir) / REPORT
    step = trainer.global_step if step is None else step
    if gradients is None:
        gradients = non_finite((name, p.grad) for name, p in module.named_parameters())
    callbacks: Sequence[object] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    report = {
        "step": step,
        "reason": reason,
        "non_finite_weights": non_finite(module.named_parameters()),
        "non_finite_gradients": gradients,
        "samples": of_all_ranks(samples),
        "lr": [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups],
        "health": {
            name: value
            for callback in callbacks
            if isinstance(callback, KnowsHealth)
            for name, value in callback.health.items()
        },
        "recent": [
            record
            for callback in callbacks
            if isinstance(callback, RecordsSteps)
            for record in callback.recent_steps
        ],
    }
    if trainer.is_global_zero:
        try:
            write_json(path, nan_as_text(report))
        except OSError as error:
            # A full disk must not keep this rank from stopping together with the others.
            log.error("%s cannot be written: %s", path, error)
    trainer.strategy.barrier("divergence")
    raise DivergenceError(f"diverged at step {step}: {reason}; see {path}")
