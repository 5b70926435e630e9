"""Check at the start of training that weights and gradients are where callbacks look for them."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch


def check_precision(module: L.LightningModule) -> None:
    """Check that the trainable weights have more than 16 bits.

    An average moves by a thousandth of the difference to the weights in a step, and AdamW by a
    thousandth of a weight: with the 8 significant bits of bfloat16, or the 11 of float16, such a
    move is rounded to nothing.

    Raises:
        ValueError: If a trainable weight has 16 bits.
    """
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            kind = str(parameter.dtype).removeprefix("torch.")
            raise ValueError(
                f"the weights would be trained in {kind} ({name}), which loses small updates: "
                "use --trainer.precision bf16-mixed or 16-mixed"
            )


def check_manual(trainer: L.Trainer, module: L.LightningModule) -> None:
    """Check that a module which takes its optimiser steps itself is not asked for Lightning's ways.

    Raises:
        ValueError: If the trainer is to clip gradients or to accumulate them.
    """
    run: Any = trainer  # Lightning does not declare these attributes
    if module.automatic_optimization:
        return
    if run.gradient_clip_val is not None:
        raise ValueError(
            "stage 3 clips the gradients of its two optimisers itself: leave out "
            "trainer.gradient_clip_val (null), and set model.student.gradient_clip_val"
        )
    if run.accumulate_grad_batches != 1:
        raise ValueError(
            "stage 3 takes a step at every batch: set trainer.accumulate_grad_batches to 1, and "
            "the number of samples by data.init_args.batch_size"
        )


def check_signs(trainer: L.Trainer) -> None:
    """Check settings whose sign Lightning does not check.

    A negative limit would turn all gradients round: the run would climb instead of descend.

    Raises:
        ValueError: If the limit of the clipping is negative, if validations have no distance, or if
            a step has no batch.
    """
    run: Any = trainer  # Lightning does not declare these attributes
    limit = run.gradient_clip_val
    if limit is not None and not limit >= 0:
        raise ValueError(
            f"trainer.gradient_clip_val must be at least 0, not {limit}: 0 keeps all gradients"
        )
    every = getattr(run, "val_check_interval", None)  # Lightning sets none if it is a time
    if every is not None and every <= 0:
        raise ValueError(
            f"trainer.val_check_interval must be above 0, not {every}: to train without "
            "validations, set trainer.limit_val_batches 0"
        )
    if run.accumulate_grad_batches < 1:
        raise ValueError(
            "trainer.accumulate_grad_batches must be at least 1, the number of batches of a step, "
            f"not {run.accumulate_grad_batches}"
        )


def shapes(module: L.LightningModule) -> dict[str, torch.Size]:
    """Return the shape of every weight by name."""
    return {name: parameter.shape for name, parameter in module.named_parameters()}


def check_whole_weights(
    trainer: L.Trainer, module: L.LightningModule, before: Mapping[str, torch.Size]
) -> None:
    """Check that the strategy has left every weight in its place and its shape.

    A `DTensor` is sharded, but keeps name and shape.

    Args:
        trainer: The trainer, after the strategy has set up the module.
        module: The module that is trained.
        before: The result of `shapes` before the strategy has set up the module.

    Raises:
        ValueError: If a weight is gone or has another shape.
    """
    after = shapes(module)
    for name, shape in before.items():
        if after.get(name) != shape:
            raise ValueError(
                f"{_strategy(trainer)} takes weights apart ({name}), and averages of them cannot "
                "be made: use --trainer.strategy ddp or sharded, or leave out the callback EMA"
            )


def check_optimizers(trainer: L.Trainer, module: L.LightningModule) -> None:
    """Check that the optimisers step the weights of the module, not copies made by the strategy.

    Raises:
        ValueError: If an optimiser holds none of the module's weights.
    """
    own = {id(parameter) for parameter in module.parameters()}
    for optimizer in trainer.optimizers:
        if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
            raise ValueError(_hidden(trainer))


def check_gradients(trainer: L.Trainer, module: L.LightningModule) -> None:
    """Check, after a backward pass, that the gradients are in the weights' attribute `grad`.

    Raises:
        ValueError: If no weight has a gradient.
    """
    if all(parameter.grad is None for parameter in module.parameters()):
        raise ValueError(_hidden(trainer))


def _hidden(trainer: L.Trainer) -> str:
    return (
        f"{_strategy(trainer)} hides the gradients of the weights, which EMA and DivergenceGuard "
        "read: use --trainer.strategy ddp or sharded, or leave out these callbacks"
    )


def _strategy(trainer: L.Trainer) -> str:
    return type(trainer.strategy).__name__
