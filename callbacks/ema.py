"""EMA: exponential moving average of the weights, used in validation and kept in checkpoints."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from lsr.batch import Batch
from lsr.distributed.tensors import gather, part_of
from lsr.models.checkpoint import EMA_STATE


class EMA(L.Callback):
    """Averages the trainable weights after every optimiser step, and evaluates the average.

    The average starts with the weights at the first step and follows
    `w_ema <- d w_ema + (1 - d) w` with `d = min(decay, (1 + n) / (10 + n))` after n updates. The
    smaller d of the first updates lets early validations see trained weights, not initial ones. A
    step updates the average of the weights that it trained: weights without a gradient are left
    alone, and each weight counts its own updates. Frozen weights are not copied.

    Between `on_validation_epoch_start` and `on_validation_epoch_end` the module holds the average,
    also in test and prediction. Checkpoints hold the raw weights as `state_dict` and the average as
    `ema_state_dict`.

    Args:
        decay: Weight d of the past average, in [0, 1).

    Raises:
        ValueError: If `decay` is outside its range.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must be at least 0 and below 1, not {decay}")
        self.decay = decay
        self._updates: int | dict[str, int] = 0
        self._step = -1
        self._average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers of updates: one number if all weights agree, else one per weight.

        The average itself has its own key in the checkpoint, see `on_save_checkpoint`.
        """
        return {
            "updates": self._updates if isinstance(self._updates, int) else _agreed(self._updates)
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the numbers of updates from a checkpoint."""
        self._updates = state_dict["updates"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the average to the checkpoint."""
        assert not self._raw, (
            "a checkpoint written during validation would have the average as raw weights"
        )
        if self._average:
            checkpoint[EMA_STATE] = gather(self._average)

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average from the checkpoint."""
        self._average = {
            name: weight.clone() for name, weight in checkpoint.get(EMA_STATE, {}).items()
        }

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the average with the current weights, unless a checkpoint has restored it."""
        self._step = trainer.global_step
        named = self._trainable(pl_module)
        if self._average.keys() != named.keys():
            self._average = {name: p.detach().clone() for name, p in named.items()}
        self._average = {
            name: part_of(self._average[name], p).to(p.device) for name, p in named.items()
        }
        known = self._updates
        self._updates = (
            dict.fromkeys(named, known)
            if isinstance(known, int)
            else {name: known.get(name, 0) for name in named}
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Update the average once per optimiser step, however many batches the step accumulates."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        assert isinstance(self._updates, dict)
        trained = {
            name: p.detach() for name, p in self._trainable(pl_module).items() if p.grad is not None
        }
        for updates in {self._updates[name] for name in trained}:
            alike = [name for name in trained if self._updates[name] == updates]
            decay = min(self.decay, (1 + updates) / (10 + updates))
            averages = [self._average[name] for name in alike]
            weights = [trained[name] for name in alike]
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
                averages, weights, 1 - decay
            )
        for name in trained:
            self._updates[name] += 1

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Replace the raw weights by the average."""
        if not self._average:  # a sanity check before training
            return
        with torch.no_grad():
            for name, parameter in self._trainable(pl_module).items():
                self._raw[name] = parameter.detach().clone()
                parameter.copy_(self._average[name])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the raw weights."""
        with torch.no_grad():
            for name, parameter in self._trainable(pl_module).items():
                if name in self._raw:
                    parameter.copy_(self._raw[name])
        self._raw = {}

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_predict_epoch_end = on_validation_epoch_end

    @staticmethod
    def _trainable(module: L.LightningModule) -> dict[str, torch.nn.Parameter]:
        return {name: p for name, p in module.named_parameters() if p.requires_grad}


def _agreed(updates: dict[str, int]) -> int | dict[str, int]:
    """Return the number of updates if it is the same for all weights, else all numbers."""
    counts = set(updates.values())
    return counts.pop() if len(counts) == 1 else dict(updates)
