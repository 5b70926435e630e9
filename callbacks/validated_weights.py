"""ValidatedWeights: the weights that a validation uses, of any LightningModule."""

from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from lsr.distributed.tensors import gather
from lsr.models.checkpoint import save_denoiser


class ValidatedWeights:
    """Copies the weights at the first batch of a validation, while the average is in place.

    Attributes:
        has_copied: Whether they were copied in this validation.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Give the memory back."""
        self.has_copied = False
        self._weights: dict[str, Tensor] = {}
        self._config: dict[str, Any] = {}

    def copy(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Copy the weights of a module to the memory of rank 0. Every rank has to call this."""
        self.has_copied = True
        weights, self._config = _exported(trainer, module)
        if trainer.is_global_zero:
            self._weights = {n: w.detach().to("cpu", copy=True) for n, w in weights.items()}

    def save(self, path: Path) -> None:
        """Write the weights and the configuration to a safetensors file."""
        save_denoiser(path, self._weights, self._config)


def _exported(
    trainer: L.Trainer, module: L.LightningModule
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the current weights of a module and its configuration, see `KneePointCallback`.

    Every rank has to call this: sharded weights are gathered, see `gather`.
    """
    exported: Any = getattr(module, "exported", None)
    if callable(exported):
        weights, config = exported()  # pyright: ignore[reportGeneralTypeIssues]
        return weights, config
    state = trainer.strategy.lightning_module_state_dict()
    return gather({name: value for name, value in state.items() if isinstance(value, Tensor)}), {}
