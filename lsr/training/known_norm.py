"""A callback that has measured the norm of the gradients spares their clipping the measurement."""

from typing import Any

import lightning as L
from torch.distributed.tensor import DTensor

from lsr.training.module import LinearSRModule

_HOOK = "on_before_optimizer_step"


def clips_by_norm_of(trainer: L.Trainer, module: L.LightningModule, callback: L.Callback) -> bool:
    """Return whether the clipping can use the norm that a callback measures before each step.

    The callback measures it in `on_before_optimizer_step`. `LinearSRModule` clips the gradients
    after this hook, and uses its attribute `known_norm` once if it is set. The norm of that moment
    is the same if

    - this process trains alone, and its weights are not sharded;
    - no later callback and no subclass of the module has a hook that could change the gradients.
    """
    if not isinstance(module, LinearSRModule) or trainer.world_size > 1:
        return False
    callbacks: list[L.Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    later = callbacks[callbacks.index(callback) + 1 :]
    return not (
        any(isinstance(parameter, DTensor) for parameter in module.parameters())
        or any(_differs(each, L.Callback, _HOOK) for each in later)
        or _differs(module, LinearSRModule, _HOOK)
        or _differs(module, LinearSRModule, "configure_gradient_clipping")
    )


def _differs(thing: Any, known: type, method: str) -> bool:
    """Return whether a method of an object is not that of the class `known`."""
    return method in vars(thing) or getattr(type(thing), method) is not getattr(known, method)
