"""The gradients of an optimiser step: their norm, their clipping, and what is logged of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning as L
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from lsr.distributed.tensors import own_part, whole

if TYPE_CHECKING:
    from lsr.training.module import LinearSRModule


def gradients_of_step(optimizer: Optimizer) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights that the optimiser's next step changes, and their gradients."""
    weights = []
    gradients = []
    for group in optimizer.param_groups:
        for weight in group["params"]:
            gradient = weight.grad  # read once: each access takes a microsecond
            if gradient is not None:
                weights.append(weight)
                gradients.append(gradient)
    return weights, gradients


def norm_on_all_ranks(norms: Tensor, gradients: Sequence[Tensor], world_size: int) -> Tensor:
    """Return the total gradient norm, a scalar that is the same on every rank.

    Every rank has to call this function. Sharded gradients are summed over the ranks. Other
    gradients should be the same on all ranks; if they are not, the largest norm counts, and one
    that is not finite counts as infinite. So a rank that has NaN alone is seen by all.

    Args:
        norms: The result of `lsr.distributed.tensors.norms_of`.
        gradients: The gradients.
        world_size: Number of ranks that train together.
    """
    total = torch.linalg.vector_norm(norms)
    if world_size == 1:
        return total
    if any(isinstance(gradient, DTensor) for gradient in gradients):
        # In float64 the square of a large float32 does not overflow.
        square = total.double().square()
        torch.distributed.all_reduce(square)
        return square.sqrt().float()
    # The maximum of NaN and a number is not defined alike by all backends.
    total = torch.where(torch.isfinite(total), total, torch.inf)
    torch.distributed.all_reduce(total, torch.distributed.ReduceOp.MAX)
    return total


def zero_if(condition: Tensor, gradients: Sequence[Tensor]) -> None:
    """Set all gradients to 0 if a condition on their device, a bool scalar, is True."""
    for gradient in gradients:
        part = own_part(gradient)
        (part._values() if part.is_sparse else part).masked_fill_(condition, 0)


def clip_gradients(
    module: "LinearSRModule", optimizer: Optimizer, limit: float | None, algorithm: str | None
) -> None:
    """Log the total norm of the gradients of a step, then clip them.

    Nothing is clipped or logged for a step that is not taken, which has no gradients.

    Args:
        module: The module that is trained.
        optimizer: The optimiser that is about to take the step.
        limit: Largest norm of all gradients together, or largest absolute value of a gradient's
            element; None or 0 keeps the gradients.
        algorithm: What `limit` limits: "norm" (also None) scales all gradients down together,
            "value" clamps their elements.

    Raises:
        ValueError: If the limit is negative, which would turn the gradients round, or NaN.
    """
    if limit is not None and not limit >= 0:  # also NaN
        raise ValueError(f"gradient_clip_val must be at least 0, not {limit}")
    total = module.known_norm
    module.known_norm = None
    log_step(module, module.global_step + 1)
    parameters, gradients = gradients_of_step(optimizer)
    if not parameters:
        return
    if total is None:
        total = torch.nn.utils.get_total_norm(gradients)
    norm = whole(total)
    if module.expert_run is not None:
        module.expert_run.keep("grad_norm", module.global_step, norm)
    if is_logging_step(module):
        module.log("train/grad_norm", norm)
        module.log("train/lr", _learning_rate(optimizer))
        if module.expert_run is not None:
            module.log_dict(module.expert_run.averaged())
    if limit and algorithm == "value":
        torch.nn.utils.clip_grad_value_(parameters, limit)
    elif limit:
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
    # Filled on the device. A number would be copied there, and the host would wait for the copy.
    value = torch.full((), float(step), device=module.device)
    module.log("step", value, batch_size=1, reduce_fx="max", add_dataloader_idx=False)
