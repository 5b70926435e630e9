"""DivergenceGuard: ends a diverging run before NaN reaches the weights, and reports the reason."""

import logging
from collections import defaultdict, deque
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from lsr.batch import Batch
from lsr.training.divergence import RobustScore, check_weights, end_diverged, remove_report
from lsr.training.gradients import is_logging_step
from lsr.training.module import LinearSRModule

log = logging.getLogger(__name__)

_REMEMBERED = 100
"""Number of steps listed in the report."""


class DivergenceGuard(L.Callback):
    """Checks the gradient norm before every optimiser step, and the weights before they are used.

    A non-finite norm ends the run. The optimiser step is not taken, so the weights stay finite, no
    checkpoint holds NaN, and the latest checkpoint stays. `divergence.json` in the run folder names
    the first non-finite parameters and lists the latest losses and norms; the command line exits
    with code 3. Under DDP the gradients are averaged before the check, so all ranks see the NaN of
    any rank in the same step, without communication of their own. The weights are checked before
    every validation and every checkpoint.

    A finite norm far above the recent ones, a spike, is an early warning: it is always logged, and
    `action` says what else happens. The loss is scored and logged in the same way; but it differs
    between ranks, so no decision depends on it. In stage 2 the steps of each expert are compared
    with each other only: a usual norm of one expert may be a spike of another.

    Args:
        action: Reaction to a spike: "warn", "skip" the optimiser step, or "stop" the run as
            diverged.
        threshold: Number of robust standard deviations above the recent norms from which a norm is
            a spike, see `lsr.training.divergence.RobustScore`.
        max_skips: Number of steps skipped in a row at most. The next step is taken, so that a
            lasting change does not stop training for ever.

    Attributes:
        recent_steps: The latest steps, for the report.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        action: Literal["warn", "skip", "stop"] = "warn",
        threshold: float = 10.0,
        max_skips: int = 5,
    ) -> None:
        if action not in ("warn", "skip", "stop"):
            raise ValueError(f"action must be warn, skip or stop, not {action!r}")
        if threshold <= 0 or max_skips < 1:
            raise ValueError(
                "threshold must be above 0 and max_skips at least 1, not "
                f"{threshold} and {max_skips}"
            )
        self.action = action
        self.threshold = threshold
        self.max_skips = max_skips
        self.recent_steps: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        # By expert; a single denoiser counts as expert 0.
        self._norm_scores: defaultdict[int, RobustScore] = defaultdict(RobustScore)
        self._loss_scores: defaultdict[int, RobustScore] = defaultdict(RobustScore)
        self._skipped = 0
        self._loss: Tensor | None = None
        self._batch_idx = -1

    def state_dict(self) -> dict[str, Any]:
        """Return the recent norms and losses: a resumed run decides like an uninterrupted one."""
        return {
            "norms": {i: list(score.values) for i, score in self._norm_scores.items()},
            "losses": {i: list(score.values) for i, score in self._loss_scores.items()},
            "skipped": self._skipped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the windows of recent norms and losses from a checkpoint."""
        for scores, key in ((self._norm_scores, "norms"), (self._loss_scores, "losses")):
            for i, values in state_dict[key].items():
                scores[i].values.extend(values)
        self._skipped = state_dict["skipped"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Delete the report of an earlier launch."""
        remove_report(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember the number of the batch for the report."""
        self._batch_idx = batch_idx

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Remember the loss. Its value is read later, together with the norm: one wait on a GPU."""
        self._loss = loss.detach()

    def on_gradient_norm(self, trainer: L.Trainer, pl_module: LinearSRModule, norm: Tensor) -> None:
        """Judge the total gradient norm. The module calls this before clipping and the step.

        Args:
            trainer: The trainer.
            pl_module: The module that is trained.
            norm: Norm of all gradients together, a scalar, the same on all ranks.

        Raises:
            DivergenceError: If the norm is not finite, or is a spike and `action` is "stop".
        """
        value = float(norm)
        loss = float("nan") if self._loss is None else float(self._loss)
        self.recent_steps.append(
            {
                "step": trainer.global_step,
                "batch": self._batch_idx,
                "loss": loss,
                "grad_norm": value,
            }
        )
        if not torch.isfinite(norm):
            end_diverged(trainer, pl_module, f"the gradient norm is {value}")
        run = pl_module.expert_run
        expert = 0 if run is None else run.turns.expert(trainer.global_step)
        score = self._norm_scores[expert](value)
        loss_score = self._loss_scores[expert](loss)
        if is_logging_step(pl_module):
            pl_module.log_dict({"guard/grad_norm_z": score, "guard/loss_z": min(loss_score, 1e6)})
        self._loss_scores[expert].accept(loss)
        if score < self.threshold or not self._skips(trainer, pl_module, value, score):
            # A spike that is not skipped enters the window: the norms may have risen for good.
            self._norm_scores[expert].accept(value)
            self._skipped = 0

    def _skips(
        self, trainer: L.Trainer, pl_module: LinearSRModule, norm: float, score: float
    ) -> bool:
        """Warn of a spike and act on it. Return whether its step is skipped."""
        what = (
            f"step {trainer.global_step}: gradient norm {norm:.3g} is {score:.0f} robust standard "
            "deviations above the recent ones"
        )
        if self.action == "stop":
            end_diverged(trainer, pl_module, what)
        if self.action == "skip" and self._skipped < self.max_skips:
            self._skipped += 1
            log.warning("%s: step skipped (%d in a row)", what, self._skipped)
            # The optimiser passes over parameters without a gradient.
            for parameter in pl_module.parameters():
                parameter.grad = None
            return True
        log.warning("%s", what)
        return False

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the weights before they are validated."""
        if trainer.state.fn == "fit":
            check_weights(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the weights before they are written."""
        check_weights(trainer, pl_module)
