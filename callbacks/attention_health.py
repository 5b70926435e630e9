"""AttentionHealth: measures at every validation how close linear attention is to its limits."""

import logging
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from lsr.batch import Batch
from lsr.models.attention_health import (
    HEADROOM,
    AttentionRecorder,
    largest_weight_product,
    summary,
)
from lsr.training.module import LinearSRModule
from lsr.training.weight_noise import loss_rise

log = logging.getLogger(__name__)

_LOW = 2.0
"""Headroom below which a warning is given."""

_SIDE = 16
"""Side of the LR crop on which the effect of noise on the weights is measured, in pixels."""

_SMALLEST_COUNTS = (HEADROOM, "health/smallest_denominator")
"""Values of which the smallest of all ranks counts; of all others it is the largest."""


class AttentionHealth(L.Callback):
    """Logs the state of the linear attentions, and warns before half precision would overflow.

    The sums of all attentions are measured at their first call in the first validation batch, with
    the averaged weights of `EMA`. They grow with the number of tokens: a headroom holds for images
    of that size. The logged values are the worst of all attentions, images and ranks:

    - `health/largest_sum`: largest entry of S, the sum over the tokens of relu(k) v, without sign;
    - `health/float16_headroom`: 65504, the largest float16, divided by that sum. Below 1, code that
      keeps S in float16 ends in NaN. The sums of this package are float32, and go on;
    - `health/bfloat16_error`: relative error of the output if the sums are rounded to bfloat16;
    - `health/smallest_denominator`: smallest denominator of a query that is not dead;
    - `health/dead_keys`: share of keys without a positive component;
    - `health/weight_product`: largest product of the norms of W_q and W_k;
    - `health/noise_loss_rise`: rise of the loss under noise of 5 % on all weights, on a small crop.

    The first time that the headroom is below 2, a warning names the remedies. `divergence.json` has
    the latest values, and `KneePointCallback` draws the headroom into `knee.png`.

    Attributes:
        health: The latest values by name, those of this rank.

    Raises:
        ValueError: At the start, if the module is not a `LinearSRModule`.
    """

    def __init__(self) -> None:
        self.health: dict[str, float] = {}
        self._recorder = AttentionRecorder()
        self._tokens = 0
        self._has_warned = False

    def state_dict(self) -> dict[str, Any]:
        """Return whether the warning was given: a resumed run does not repeat it."""
        return {"has_warned": self._has_warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore from a checkpoint whether the warning was given."""
        self._has_warned = state_dict["has_warned"]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the module; forget another run with this object. Checkpoints are restored later."""
        if not isinstance(pl_module, LinearSRModule):
            raise ValueError(
                f"AttentionHealth needs a LinearSRModule, not {type(pl_module).__name__}: "
                "leave this callback out"
            )
        if stage == "fit" and trainer.global_step == 0:
            self.health = {}
            self._has_warned = False

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Watch the attentions in the first batch of a validation of training."""
        run: Any = trainer  # Lightning does not declare the attribute `sanity_checking`
        is_training = run.state.fn == "fit" and not run.sanity_checking
        if is_training and batch_idx == dataloader_idx == 0:
            assert isinstance(pl_module, LinearSRModule)
            self._recorder.start(pl_module.denoiser)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log what was seen in the first batch, and what noise on the weights costs."""
        if not self._recorder.is_watching:
            return
        assert isinstance(pl_module, LinearSRModule)
        found = list(self._recorder.found.values())
        self._tokens = found[0].tokens
        self.health = summary(found)
        self.health["health/weight_product"] = largest_weight_product(pl_module.denoiser)
        if "hr" in batch:
            # Before `stop`: a compiled network would be compiled again for the size of the crop.
            self.health["health/noise_loss_rise"] = _noise_loss_rise(pl_module, batch)
        self._recorder.stop()
        for name, value in self.health.items():
            pl_module.log(
                name,
                value,
                reduce_fx="min" if name in _SMALLEST_COUNTS else "max",
                sync_dist=True,
                batch_size=1,
                add_dataloader_idx=False,
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn if the logged headroom, the smallest of all ranks, is low."""
        headroom = trainer.callback_metrics.get(HEADROOM)
        if self.health and headroom is not None and headroom < _LOW and not self._has_warned:
            self._has_warned = True
            _warn(trainer.global_step, float(headroom), self._tokens)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave no hooks on the model."""
        self._recorder.stop()


def _noise_loss_rise(module: LinearSRModule, batch: Batch) -> float:
    """Return `loss_rise` on the upper left corner of the first image of a batch."""
    assert "hr" in batch
    side = _SIDE * module.denoiser.config.scale
    corner: Batch = {
        "lr": batch["lr"][:1, :, :_SIDE, :_SIDE],
        "hr": batch["hr"][:1, :, :side, :side],
        "seed": batch["seed"][:1],
    }
    context = batch.get("context")
    first = None if context is None else type(context)(*(part[:1] for part in context))
    return loss_rise(module.denoiser, corner, module.path_noise(corner), module.shift, first)


@rank_zero_only
def _warn(step: int, headroom: float, tokens: int) -> None:
    log.warning(
        "step %s: float16 ends at %.1f times (the headroom) the attention's largest sum over %s "
        "tokens. This run sums in float32 and goes on; for sums in float16 stop at the knee, or "
        "set qk_norm or qk_decay",
        f"{step:,}",
        headroom,
        f"{tokens:,}",
    )
