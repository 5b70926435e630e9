"""Whether the clipping can use a norm of the gradients that a callback has already measured."""

from typing import Any

import lightning as L
import torch
from torch.distributed.tensor import DTensor

from lsr.training.module import LinearSRModule

_HOOK = "on_before_optimizer_step"


def clips_by_norm_of(trainer: L.Trainer, module: L.LightningModule, callback: L.Callback) -> bool:
    """Return whether the clipping can use the norm that a callback measures before each step.

    The callback measures it in `on_before_optimizer_step` and sets the attribute `known_norm` of
    the `LinearSRModule`, which clips the gradients after this hook. Between the two, nothing may
    change the gradients. So the answer is True only if

    - this process trains alone, and its weights are not sharded;
    - Lightning takes the steps: a module that takes them itself may clip before this hook;
    - all weights are float32: the callback measures in float32, the clipping in their type;
    - no callback after this one has the hook, and neither has a subclass of the module;
    - no subclass clips in its own way.
    """
    if not isinstance(module, LinearSRModule) or trainer.world_size > 1:
        return False
    if not module.automatic_optimization:
        return False
    callbacks: list[L.Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    later = callbacks[callbacks.index(callback) + 1 :]
    return not (
        any(isinstance(p, DTensor) or p.dtype != torch.float32 for p in module.parameters())
        or any(_differs(each, L.Callback, _HOOK) for each in later)
        or _differs(module, LinearSRModule, _HOOK)
        or _differs(module, LinearSRModule, "configure_gradient_clipping")
    )


def _differs(thing: Any, known: type, method: str) -> bool:
    """Return whether a method of an object is not that of the class `known`."""
    return method in vars(thing) or getattr(type(thing), method) is not getattr(known, method)
