"""EMA: exponential moving average of the weights, used in validation and kept in checkpoints."""

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lsr.batch import Batch
from lsr.distributed.tensors import gather, part_of
from lsr.models.checkpoint import EMA_STATE
from lsr.training.supported import (
    check_gradients,
    check_optimizers,
    check_precision,
    check_whole_weights,
    shapes,
)


class EMA(L.Callback):
    """Averages the trainable weights after every optimiser step, and evaluates the average.

    The average starts with the weights at the first step and follows
    `w_ema <- d w_ema + (1 - d) w` with `d = min(decay, (1 + n) / (10 + n))` after n updates. The
    smaller d of the first updates lets early validations see trained weights, not initial ones. A
    step updates the average of the weights that it trained: weights without a gradient are left
    alone, and each weight counts its own updates. Frozen weights are not copied. The average of a
    weight that becomes trainable during the run begins with its value after its first step. A
    module may have an attribute `not_averaged` with the prefixes of the names of weights that only
    training needs, such as those of a discriminator: they have no average.

    Between `on_validation_epoch_start` and `on_validation_epoch_end` the module holds the average,
    also in test and prediction. Checkpoints hold the raw weights as `state_dict` and the average as
    `ema_state_dict`, also those that are written during validation; an exception there puts the raw
    weights back.

    Args:
        decay: Weight d of the past average, in [0, 1).

    Raises:
        ValueError: If `decay` is outside its range; at the start of training, if weights have 16
            bits, or the strategy takes weights apart or hides their gradients.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must be at least 0 and below 1, not {decay}")
        self.decay = decay
        self._updates: int | dict[str, int] = 0
        self._stepped: set[int] = set()
        self._hooks: list[RemovableHandle] = []
        self._average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}
        self._shapes: dict[str, torch.Size] = {}
        self._gradients_seen = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remember the weights' shapes before the strategy can change them; begin a new run."""
        self._shapes = shapes(pl_module)
        if stage == "fit" and trainer.global_step == 0:
            # Of another run with this object. Checkpoints are restored after this hook.
            self._average = {}
            self._updates = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check that weights and their gradients can be seen.

        Raises:
            ValueError: If weights have 16 bits, or the strategy takes them apart or hides their
                gradients.
        """
        check_precision(pl_module)
        check_whole_weights(trainer, pl_module, self._shapes)
        check_optimizers(trainer, pl_module)
        self._gradients_seen = False

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check once that gradients can be seen: a weight without one is not averaged.

        Raises:
            ValueError: If the strategy hides them.
        """
        if not self._gradients_seen:
            check_gradients(trainer, pl_module)
            self._gradients_seen = True

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
        """Add the average to the checkpoint, and the raw weights if the average is in their place.

        A signal of SLURM, and `OnExceptionCheckpoint`, write checkpoints during validation too.
        """
        raw = {id(p): self._raw[n] for n, p in pl_module.named_parameters() if n in self._raw}
        # A weight that is shared by two layers has two names in the checkpoint.
        every = pl_module.named_parameters(remove_duplicate=False)
        named = {name: raw[id(p)] for name, p in every if id(p) in raw}
        checkpoint["state_dict"].update(gather(named))
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
        """Start the averages with the current weights, unless a checkpoint has restored them."""
        named = self._trainable(pl_module)
        known = self._updates if isinstance(self._updates, dict) else {}
        alike = 0 if isinstance(self._updates, dict) else self._updates
        self._updates = {
            name: known.get(name, alike) if name in self._average else 0 for name in named
        }
        self._average = {
            name: part_of(self._average.get(name, p.detach().clone()), p).to(p.device)
            for name, p in named.items()
        }
        self._watch(trainer.optimizers)

    def _watch(self, optimizers: list[Optimizer]) -> None:
        """Remember the weights of each step of the optimisers, and of no others.

        At the end of a batch the gradients may be gone: a module with manual optimisation may call
        `zero_grad` after its step.
        """
        for hook in self._hooks:
            hook.remove()
        self._stepped = set()
        self._hooks = [each.register_step_post_hook(self._remember) for each in optimizers]

    def _remember(self, optimizer: Optimizer, *_: Any) -> None:
        self._stepped |= {
            id(p) for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        }

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Update the averages once if there was a step, however many batches it accumulates."""
        if not self._stepped:
            return
        assert isinstance(self._updates, dict)
        trained = {
            name: p.detach()
            for name, p in self._trainable(pl_module).items()
            if id(p) in self._stepped
        }
        self._stepped = set()
        for name in trained.keys() - self._average.keys():
            self._average[name] = trained.pop(name).clone()
            self._updates[name] = 0
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
        """Replace the raw weights by the average.

        In evaluation these are all weights that have an average in the checkpoint, also those that
        would be frozen in training.

        Raises:
            ValueError: If a trainable weight has no average, because the run of the checkpoint did
                not train it.
        """
        if not self._average:  # a sanity check before training
            return
        missing = self._trainable(pl_module).keys() - self._average.keys()
        # In training these are weights that became trainable and have not been trained yet.
        if missing and trainer.state.fn != "fit":
            raise ValueError(
                f"the checkpoint has no average of {len(missing)} trainable weights, such as "
                f"{min(missing)}: its run did not train them"
            )
        with torch.no_grad():
            for name, parameter in self._averaged(pl_module).items():
                self._raw[name] = parameter.detach().clone()
                parameter.copy_(self._average[name])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the raw weights."""
        with torch.no_grad():
            for name, parameter in self._averaged(pl_module).items():
                if name in self._raw:
                    parameter.copy_(self._raw[name])
        self._raw = {}

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the optimisers."""
        self._watch([])

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Restore the raw weights if an exception ended a validation."""
        self.on_validation_epoch_end(trainer, pl_module)

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_predict_epoch_end = on_validation_epoch_end

    def _averaged(self, module: L.LightningModule) -> dict[str, torch.nn.Parameter]:
        return {name: p for name, p in module.named_parameters() if name in self._average}

    @staticmethod
    def _trainable(module: L.LightningModule) -> dict[str, torch.nn.Parameter]:
        left_out = tuple(getattr(module, "not_averaged", ()))
        return {
            name: p
            for name, p in module.named_parameters()
            if p.requires_grad and not name.startswith(left_out)
        }


def _agreed(updates: dict[str, int]) -> int | dict[str, int]:
    """Return the number of updates if it is the same for all weights, else all numbers."""
    counts = set(updates.values())
    return counts.pop() if len(counts) == 1 else dict(updates)
