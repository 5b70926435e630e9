"""Watch the discriminators of a student: one that makes no mistakes teaches it nothing."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lsr.distributed.ranks import mean_over_ranks

_WON = 0.02
"""Hinge loss of a discriminator below which it has won: a hundredth of that without knowledge."""


class DiscriminatorWatch:
    """Averages the discriminators' hinge losses between validations, and warns if they win.

    Args:
        patience: Number of validations in a row with a loss of about 0 before the warning.

    Attributes:
        grad_norm: Norm of the discriminators' gradients in their latest step. In the hook of this
            step Lightning would forget the value when the student logs its own.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.grad_norm: Tensor | None = None
        self._sums: dict[str, Tensor] = {}
        self._batches = 0
        self._won: dict[str, int] = {}

    def keep(self, losses: dict[str, Tensor]) -> None:
        """Add the hinge losses of a batch, scalars by name, without waiting for a GPU."""
        for name, loss in losses.items():
            # With bf16-mixed a loss has 8 significant bits; a sum of that type stops growing.
            value = loss.detach().float()
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._batches += 1

    def in_validation(self, module: L.LightningModule) -> None:
        """Log the means since the last validation, and count those at about 0.

        Every rank has to call this.
        """
        if not self._batches:
            return
        means = mean_over_ranks(torch.stack(list(self._sums.values())) / self._batches)
        for name, mean in zip(self._sums, means.tolist(), strict=True):
            module.log(f"train/discriminator_{name}", mean, batch_size=1)
            self._won[name] = self._won.get(name, 0) + 1 if mean < _WON else 0
            if self._won[name] == self.patience:
                penalty = ", or raise model.student.ladd.r1_weight" if name == "ladd" else ""
                rank_zero_warn(
                    f"the discriminator {name} wins: its loss was about 0 ({mean:.2g} now) at "
                    f"{self.patience} validations in a row, so the student learns little from it: "
                    f"lower model.discriminator_optimizer.lr{penalty}"
                )
        self._sums = {}
        self._batches = 0

    def state_dict(self) -> dict[str, Any]:
        """Return sums and counts as plain values."""
        sums = {name: float(value) for name, value in self._sums.items()}
        return {"sums": sums, "batches": self._batches, "won": dict(self._won)}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` has returned."""
        self._sums = {
            name: torch.tensor(value, device=device) for name, value in state["sums"].items()
        }
        self._batches = state["batches"]
        self._won = dict(state["won"])
