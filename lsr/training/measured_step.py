"""The loss and the gradient norms of one optimiser step, and what identifies its batches."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from lsr.distributed.tensors import norms_of
from lsr.training.batch_samples import BatchSamples
from lsr.training.divergence import agreed_names
from lsr.training.gradients import gradients_of_step, norm_on_all_ranks
from lsr.training.host_copy import HostCopy


def unscaled(trainer: L.Trainer, module: L.LightningModule, loss: Tensor) -> Tensor:
    """Return the loss as the module computed it, a scalar on its device.

    Before the backward pass Lightning divides the loss by the number of accumulated batches, and
    multiplies it by the loss scale of float16.
    """
    value = loss.detach().to(torch.float32, copy=True)
    if value.ndim > 0:
        value = value.mean()
    run: Any = trainer  # Lightning does not declare the attribute
    if module.automatic_optimization and run.accumulate_grad_batches > 1:
        value = value * run.accumulate_grad_batches
    scaler = loss_scaler(trainer)
    return value if scaler is None else value / scaler._get_scale_async()


def loss_scaler(trainer: L.Trainer) -> Any:
    """Return the GradScaler of the trainer's precision, or None."""
    return getattr(trainer.strategy.precision_plugin, "scaler", None)


@dataclass(slots=True)
class MeasuredStep:
    """Loss and gradient norms of one optimiser step.

    Attributes:
        number: Number of the step.
        batch: Index of its last batch in the epoch.
        group: Number of the expert or the optimiser, with whose steps this one is compared.
        batches: What identifies the samples of its batches on this rank.
        weights: The weights that the step changes. The next step overwrites their gradients.
        total: Norm of all gradients on all ranks, a scalar on their device.
        norms: This rank's norm of each weight's gradient (N,), on their device.
        values: Total norm, and loss of this rank.
    """

    number: int
    batch: int
    group: int
    batches: Sequence[BatchSamples]
    weights: Sequence[Tensor]
    total: Tensor
    norms: Tensor
    values: HostCopy

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients of the step, until the next one replaces them."""
        return [weight.grad for weight in self.weights if weight.grad is not None]

    @property
    def norm(self) -> float:
        """The total norm of the gradients on all ranks."""
        return self.values.read()[0]

    @property
    def loss(self) -> float:
        """The loss of this rank's last batch."""
        return self.values.read()[1]

    def non_finite_gradients(self, module: L.LightningModule) -> list[str]:
        """Return the names of the first weights whose gradients were not finite on any rank."""
        norms = dict(zip(map(id, self.weights), self.norms.tolist(), strict=True))
        named = list(module.named_parameters())
        finite = [math.isfinite(norms.get(id(p), 0.0)) for _, p in named]
        flags = torch.tensor(finite, device=self.total.device)
        return agreed_names([name for name, _ in named], flags)

    def samples(self) -> dict[str, Any]:
        """Return the loss and the samples of this rank, for the report."""
        return {"loss": self.loss, "batches": [batch.describe() for batch in self.batches]}


class StepRecorder:
    """Collects loss and batches of the next optimiser step, and measures the step."""

    def __init__(self) -> None:
        self._loss: Tensor | None = None
        self._batch = -1
        self._batches: deque[BatchSamples] = deque(maxlen=64)
        self._between_steps = True

    def begin_batch(self, batch: Any, number: int) -> bool:
        """Remember a batch and its index in the epoch. Return whether it is the first of a step."""
        first = self._between_steps
        self._between_steps = False
        if first:
            self._batches.clear()
        self._batch = number
        self._batches.append(BatchSamples(batch))
        return first

    def keep_loss(self, loss: Tensor) -> None:
        """Remember the result of `unscaled` for the newest batch. It is read later."""
        self._loss = loss

    def measure(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: Optimizer
    ) -> MeasuredStep | None:
        """Measure the step that an optimiser is about to take; None if it has no gradients.

        Every rank has to call this method at the same step.
        """
        self._between_steps = True
        weights, gradients = gradients_of_step(optimizer)
        if not weights:
            return None
        norms = norms_of(gradients)
        total = norm_on_all_ranks(norms, gradients, trainer.world_size)
        if self._loss is None:
            loss = torch.full_like(total, torch.nan)  # filled on the device: nothing waits
        else:
            loss = self._loss.to(total.device)
        return MeasuredStep(
            trainer.global_step,
            self._batch,
            _group(trainer, module, optimizer),
            list(self._batches),
            weights,
            total,
            norms,
            HostCopy(total, loss),
        )


def _group(trainer: L.Trainer, module: L.LightningModule, optimizer: Optimizer) -> int:
    """Return the number of the expert that a step trains, or of the optimiser that takes it."""
    run = getattr(module, "expert_run", None)
    if run is not None:
        return run.turns.expert(trainer.global_step)
    return next((i for i, one in enumerate(trainer.optimizers) if one is optimizer), 0)
