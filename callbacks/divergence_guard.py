"""DivergenceGuard: ends a diverging run before NaN reaches the weights, and reports the reason."""

import logging
import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from lsr.training.divergence import check_weights, end_diverged, remove_report
from lsr.training.gradients import is_logging_step, zero_if
from lsr.training.host_copy import reads_late
from lsr.training.known_norm import clips_by_norm_of
from lsr.training.measured_step import MeasuredStep, StepRecorder, loss_scaler, unscaled
from lsr.training.robust_score import StepScores
from lsr.training.running_statistics import RunningStatistics
from lsr.training.supported import check_gradients, check_optimizers

log = logging.getLogger(__name__)

_REMEMBERED = 100
"""Number of steps listed in the report."""

_MAX_OVERFLOWS = 20
"""Overflows in a row that are tolerated: the first loss scale is 2^16, and each one halves it."""


class DivergenceGuard(L.Callback):
    """Checks the gradient norm before every optimiser step, and the weights before they are used.

    Works with any LightningModule, with automatic and manual optimisation. (An optimiser that
    `self.optimizers(use_pl_optimizer=False)` returns is not seen by the guard.)

    A non-finite norm ends the run. The optimiser step is not taken, so the weights stay finite, no
    checkpoint holds NaN, and the latest checkpoint stays. `divergence.json` in the run folder names
    the first non-finite parameters and the samples of the batch, and lists the latest losses and
    norms; the command line exits with code 3. All ranks decide alike: the norm is the largest of
    all ranks. The weights are checked before every validation and every checkpoint.

    On a GPU the host does not wait for the norm, but reads it one step later: a non-finite norm
    sets the gradients of its step to 0 on the device, and the run ends before the next step,
    validation or checkpoint. Where the host has to know whether to skip a step, it waits: with
    `action: skip`, with `skip_non_finite` and with float16.

    With float16 (`precision: 16-mixed`) gradients overflow until the loss scale fits. Such steps
    are skipped. The run ends at a scale of 1, or after 20 overflows in a row.

    A finite norm far above the recent ones, a spike, is an early warning: it is always logged, and
    `action` says what else happens. The loss is scored and logged in the same way; but it differs
    between ranks, so no decision depends on it. In stage 2 the steps of each expert are compared
    with each other only: a usual norm of one expert may be a spike of another. The same holds for
    the steps of several optimisers.

    Args:
        action: Reaction to a spike: "warn", "skip" the optimiser step, or "stop" the run as
            diverged.
        threshold: Number of robust standard deviations above the recent norms from which a norm is
            a spike, see `lsr.training.robust_score.RobustScore`.
        max_skips: Number of spikes skipped in a row at most. The next step is taken, so that a
            lasting change does not stop training for ever.
        skip_non_finite: Number of steps with a non-finite norm that are skipped in a row at most.
            The next one ends the run.
        skip_steps: Numbers of optimiser steps that are not taken. The stream of batches is
            deterministic, so a resumed run would diverge again at a bad batch: name the "step" of
            `divergence.json` here to get past it.

    Attributes:
        recent_steps: The latest steps, for the report.

    Raises:
        ValueError: If a setting is out of range, or at the start if gradients are hidden.
    """

    def __init__(
        self,
        action: Literal["warn", "skip", "stop"] = "warn",
        threshold: float = 10.0,
        max_skips: int = 5,
        skip_non_finite: int = 0,
        skip_steps: Sequence[int] = (),
    ) -> None:
        if action not in ("warn", "skip", "stop"):
            raise ValueError(f"action must be warn, skip or stop, not {action!r}")
        if threshold <= 0 or max_skips < 1:
            raise ValueError(f"need threshold > 0, max_skips >= 1, got {threshold}, {max_skips}")
        if skip_non_finite < 0 or any(step < 0 for step in skip_steps):
            raise ValueError(
                "need skip_non_finite and all skip_steps >= 0, "
                f"got {skip_non_finite} and {list(skip_steps)}"
            )
        self.action = action
        self.threshold = threshold
        self.max_skips = max_skips
        self.skip_non_finite = skip_non_finite
        self.skip_steps = frozenset(skip_steps)
        self.recent_steps: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._scores = StepScores()
        self._gradients_seen = False
        self._pending: MeasuredStep | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the recent norms and losses: a resumed run decides like an uninterrupted one."""
        state = self._scores.state_dict()
        if self._pending is not None:
            # Not judged yet. If it is not finite, no checkpoint is written.
            step = self._pending
            state["pending"] = [step.group, step.norm, step.loss]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the recent norms and losses from a checkpoint."""
        self._scores.load_state_dict(state_dict)
        if "pending" in state_dict:
            group, norm, loss = state_dict["pending"]
            self._scores.norms[group].accept(norm)
            self._scores.losses[group].accept(loss)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forget the steps of another run with this object. Checkpoints are restored later."""
        if stage == "fit" and trainer.global_step == 0:
            self.recent_steps.clear()
            self._scores = StepScores()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Delete the report of an earlier launch; ValueError if the strategy hides gradients."""
        remove_report(trainer)
        check_optimizers(trainer, pl_module)
        self._gradients_seen = False
        self._pending = None
        self._recorder = StepRecorder()
        self._statistics = RunningStatistics(pl_module)
        self._shares_norm = clips_by_norm_of(trainer, pl_module, self)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the batch for the report. A step may have several batches."""
        if self._recorder.begin_batch(batch, batch_idx):
            self._statistics.keep()

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Remember the loss. Its value is read later, together with the norm."""
        self._recorder.keep_loss(unscaled(trainer, pl_module, loss))

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check once that the gradients can be seen; ValueError if the strategy hides them."""
        if not self._gradients_seen:
            check_gradients(trainer, pl_module)
            self._gradients_seen = True

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Judge the total gradient norm, before gradients are clipped and the optimiser steps.

        Raises:
            DivergenceError: If the norm is not finite, or is a spike and `action` is "stop".
        """
        step = self._recorder.measure(trainer, pl_module, optimizer)
        if step is None:
            return
        if step.number in self.skip_steps:
            log.warning("step %d is not taken: it is in skip_steps", step.number)
            self._drop(optimizer)
            return
        if self._waits(trainer, step):
            self._judge(trainer, pl_module, step, optimizer)
            if self._shares_norm:
                pl_module.known_norm = step.total
        else:
            zero_if(~torch.isfinite(step.total), step.gradients)
            self._settle(trainer, pl_module, logs=True)
            self._pending = step

    def _waits(self, trainer: L.Trainer, step: MeasuredStep) -> bool:
        """Return whether a step is judged before it is taken."""
        may_skip = self.action == "skip" or self.skip_non_finite > 0
        return may_skip or loss_scaler(trainer) is not None or not reads_late(step.total.device)

    def _settle(self, trainer: L.Trainer, pl_module: L.LightningModule, logs: bool = False) -> None:
        """Judge the step that was taken last, if that is still to be done."""
        step = self._pending
        self._pending = None
        if step is not None:
            self._judge(trainer, pl_module, step, logs=logs)

    def _judge(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        step: MeasuredStep,
        optimizer: Optimizer | None = None,
        logs: bool = True,
    ) -> None:
        """Judge a step; `optimizer` is about to take it, or is None if it was taken already."""
        self.recent_steps.append(
            {"step": step.number, "batch": step.batch, "loss": step.loss, "grad_norm": step.norm}
        )
        if not math.isfinite(step.norm):
            self._not_finite(trainer, pl_module, step, optimizer)
            return
        self._scores.skipped_non_finite = 0
        norms = self._scores.norms[step.group]
        losses = self._scores.losses[step.group]
        if logs and is_logging_step(pl_module):
            loss_z = min(losses(step.loss), 1e6)
            pl_module.log_dict({"guard/grad_norm_z": norms(step.norm), "guard/loss_z": loss_z})
        losses.accept(step.loss)
        spike = norms.reaches(step.norm, self.threshold)
        if not spike or not self._skips(trainer, pl_module, step, norms(step.norm), optimizer):
            # A spike that is not skipped enters the window: the norms may have risen for good.
            norms.accept(step.norm)
            self._scores.skipped = 0

    def _not_finite(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        step: MeasuredStep,
        optimizer: Optimizer | None,
    ) -> None:
        """Skip a step whose norm is not finite, or end the run.

        With float16 it may be an overflow of the loss scale, which `GradScaler` halves then.
        """
        scaler = loss_scaler(trainer)
        scale = 1.0 if scaler is None else scaler.get_scale()
        overflow = scale > 1
        limit = max(self.skip_non_finite, _MAX_OVERFLOWS if overflow else 0)
        what = f"the gradient norm is {step.norm}"
        if optimizer is None or self._scores.skipped_non_finite >= limit:
            self._statistics.restore()
            names = step.non_finite_gradients(pl_module)
            end_diverged(trainer, pl_module, what, step.number, names, step.samples())
        self._scores.skipped_non_finite += 1
        in_a_row = self._scores.skipped_non_finite
        what = f"step {step.number}: {what}: step skipped ({in_a_row} in a row)"
        if overflow:
            log.info("%s; the loss scale %g is too large", what, scale)
        else:
            log.warning("%s; samples: %s", what, step.samples())
        self._drop(optimizer)

    def _skips(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        step: MeasuredStep,
        score: float,
        optimizer: Optimizer | None,
    ) -> bool:
        """Warn of a spike and act on it. Return whether its step is skipped."""
        what = (
            f"step {step.number}: gradient norm {step.norm:.3g} is {score:.0f} robust standard "
            "deviations above the recent ones"
        )
        if self.action == "stop":
            end_diverged(trainer, pl_module, what, step.number, samples=step.samples())
        if self.action == "skip" and optimizer and self._scores.skipped < self.max_skips:
            self._scores.skipped += 1
            log.warning("%s: step skipped (%d in a row)", what, self._scores.skipped)
            self._drop(optimizer)
            return True
        log.warning("%s", what)
        return False

    def _drop(self, optimizer: Optimizer) -> None:
        """Let the optimiser take a step without effect: it passes over weights without gradient."""
        optimizer.zero_grad(set_to_none=True)
        self._statistics.restore()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the weights before they are validated."""
        if trainer.state.fn == "fit":
            self._settle(trainer, pl_module)
            check_weights(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the weights before they are written."""
        self._settle(trainer, pl_module)
        check_weights(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the last step."""
        self._settle(trainer, pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Forget the last step: its weights are finite, and the ranks cannot decide together."""
        self._pending = None
