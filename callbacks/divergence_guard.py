"""Stops a diverging run before NaN reaches the weights, and says why."""

import logging
from collections import defaultdict, deque
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from lsr.training.divergence import REPORT, DivergenceError, RobustScore, non_finite, write_report

log = logging.getLogger(__name__)

_REMEMBERED = 100


class DivergenceGuard(L.Callback):
    """Looks at the total gradient norm before every optimiser step and at the weights before every validation and checkpoint.

    A non-finite norm ends the run: the step is not taken, so the weights stay finite, no checkpoint holds NaN, and the last one
    stays. `divergence.json` in the run folder names the first non-finite parameters and lists the last losses and norms; the
    command line exits with 3. Under DDP gradients are averaged before, so a NaN on any rank is seen by all of them in the same
    step without a collective of its own.

    A finite norm that is far outside of the recent ones is an early warning: always logged, and acted on by `action`. The loss
    is scored and logged likewise, but differs between ranks, so nothing is decided by it. In stage 2 the steps of each expert are
    judged among themselves: what is usual for one is a spike for another.

    Args:
        action: What to do about a spike of the norm: "warn", "skip" the step, or "stop" the run as diverged.
        threshold: Robust standard deviations (see `lsr.training.divergence.RobustScore`) from which a norm is a spike.
        max_skips: Steps skipped in a row at most; the next one is taken, so that a lasting change is not skipped for ever.

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
                f"need threshold > 0 and max_skips >= 1, got {threshold} and {max_skips}"
            )
        self.action, self.threshold, self.max_skips = action, threshold, max_skips
        self._norm_scores: defaultdict[int, RobustScore] = defaultdict(
            RobustScore
        )  # by expert; 0 where there are none
        self._loss_scores: defaultdict[int, RobustScore] = defaultdict(RobustScore)
        self._skipped = 0
        self._recent: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._loss: Tensor | None = None
        self._batch_idx = -1

    def state_dict(self) -> dict[str, Any]:
        """Return the recent norms and losses, so that a resumed run decides as an unbroken one."""
        norms, losses = (
            {i: list(score.values) for i, score in scores.items()}
            for scores in (self._norm_scores, self._loss_scores)
        )
        return {"norms": norms, "losses": losses, "skipped": self._skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue."""
        for scores, key in ((self._norm_scores, "norms"), (self._loss_scores, "losses")):
            for i, values in state_dict[key].items():
                scores[i].values.extend(values)
        self._skipped = state_dict["skipped"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop the report of an earlier launch: what is there at the end is about this one."""
        if trainer.is_global_zero:
            (Path(trainer.default_root_dir) / REPORT).unlink(missing_ok=True)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember which batch this is."""
        self._batch_idx = batch_idx

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Remember the loss; reading it can wait until the norm is read."""
        self._loss = loss.detach()

    def on_gradient_norm(
        self, trainer: L.Trainer, pl_module: L.LightningModule, norm: Tensor
    ) -> None:
        """Judge the total norm, the same on all ranks; called by the module before clipping and the step."""
        value = float(norm)
        loss = float("nan") if self._loss is None else float(self._loss)
        self._recent.append(
            {
                "step": trainer.global_step,
                "batch": self._batch_idx,
                "loss": loss,
                "grad_norm": value,
            }
        )
        if not torch.isfinite(norm):
            self._abort(trainer, pl_module, f"the gradient norm is {value}")
        run = getattr(pl_module, "expert_run", None)
        expert = 0 if run is None else run.turns.expert(trainer.global_step)
        norms, losses = self._norm_scores[expert], self._loss_scores[expert]
        score, loss_score = norms(value), losses(loss)
        if pl_module.is_logging_step:
            pl_module.log_dict({"guard/grad_norm_z": score, "guard/loss_z": min(loss_score, 1e6)})
        losses.accept(loss)
        if score < self.threshold:
            norms.accept(value)
            self._skipped = 0
            return
        what = f"step {trainer.global_step}: gradient norm {value:.3g} is {score:.0f} robust standard deviations above the recent ones"
        if self.action == "stop":
            self._abort(trainer, pl_module, what)
        if self.action == "skip" and self._skipped < self.max_skips:
            self._skipped += 1
            log.warning("%s: step skipped (%d in a row)", what, self._skipped)
            for parameter in pl_module.parameters():
                parameter.grad = None
            return
        log.warning("%s", what)
        norms.accept(value)
        self._skipped = 0

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the weights before they are judged."""
        if trainer.state.fn == "fit":
            self._check_weights(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at the weights before they are written."""
        self._check_weights(trainer, pl_module)

    def _check_weights(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if non_finite(pl_module.named_parameters(), limit=1):
            self._abort(trainer, pl_module, "the weights are not finite")

    def _abort(self, trainer: L.Trainer, pl_module: L.LightningModule, reason: str) -> None:
        folder = Path(trainer.default_root_dir)
        report = {
            "step": trainer.global_step,
            "reason": reason,
            "non_finite_weights": non_finite(pl_module.named_parameters()),
            "non_finite_gradients": non_finite(
                (name, p.grad) for name, p in pl_module.named_parameters()
            ),
            "lr": [
                group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups
            ],
            "recent": list(self._recent),
        }
        if trainer.is_global_zero:
            try:
                write_report(folder / REPORT, report)
            except (
                OSError
            ) as error:  # a full disk must not keep this rank from stopping with the others
                log.error("%s cannot be written: %s", folder / REPORT, error)
        trainer.strategy.barrier("divergence")
        raise DivergenceError(
            f"diverged at step {trainer.global_step}: {reason}; see {folder / REPORT}"
        )
