"""The gradient norm of an optimiser step: logged, passed to callbacks, and used for clipping."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from lsr.distributed.tensors import whole

if TYPE_CHECKING:
    from lsr.training.module import LinearSRModule


@runtime_checkable
class WatchesGradientNorm(Protocol):
    """A callback that looks at the gradient norm of every optimiser step."""

    def on_gradient_norm(
        self, trainer: L.Trainer, pl_module: "LinearSRModule", norm: Tensor
    ) -> None:
        """Look at the norm, a scalar, before gradients are clipped and the optimiser steps."""
        ...


def clip_gradients(module: "LinearSRModule", optimizer: Optimizer, limit: float | None) -> None:
    """Log the total norm of the denoiser's gradients, then clip them by it.

    In between, every callback of type `WatchesGradientNorm` gets the norm. Lightning has no hook
    between the end of gradient accumulation and the optimiser step.

    Args:
        module: The module that is trained.
        optimizer: Its optimiser, for the learning rate in the log.
        limit: Norm above which gradients are scaled down to this norm; None or 0 keeps them.
    """
    parameters = list(module.denoiser.parameters())
    total = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    norm = whole(total)
    log_step(module, module.global_step + 1)
    if module.expert_run is not None:
        module.expert_run.keep("grad_norm", module.global_step, norm)
    if is_logging_step(module):
        module.log("train/grad_norm", norm)
        module.log("train/lr", _learning_rate(optimizer))
        if module.expert_run is not None:
            module.log_dict(dict(module.expert_run.latest))
    for callback in module.trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(callback, WatchesGradientNorm):
            callback.on_gradient_norm(module.trainer, module, norm)
    if limit:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, total)


def _learning_rate(optimizer: Optimizer) -> float:
    """Return the learning rate of the weights that have gradients: experts warm up separately."""
    return max(
        group["lr"]
        for group in optimizer.param_groups
        if any(p.grad is not None for p in group["params"])
    )


def is_logging_step(module: L.LightningModule) -> bool:
    """Return whether the loggers write the values of the current optimiser step.

    The values of other steps need not be logged: a call to `log` costs a fraction of a millisecond.
    """
    every = module.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
    return every > 0 and ((module.global_step + 1) % every == 0 or module.trainer.should_stop)


def log_step(module: L.LightningModule, step: int) -> None:
    """Log `step` as the x axis of the values that are logged next.

    Loggers use a logged value with the name "step" as the x axis. Without it they would use
    Lightning's own step number, which is one less than the number of finished optimiser steps.

    Args:
        module: The module that logs.
        step: Number of optimiser steps, the x axis of these values.
    """
    module.log("step", float(step), batch_size=1, reduce_fx="max", add_dataloader_idx=False)
