"""ExpertQuality: draws what each expert has learnt since the knee, as loss by flow time."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks.boards import boards, pixels_of, show_picture
from lsr.batch import Batch
from lsr.experts.initial_weights import verified_seed
from lsr.experts.plot import draw_loss_by_time
from lsr.experts.run import ExpertRun
from lsr.figures import save_png
from lsr.files import nan_as_text, remove_leftovers, write_json
from lsr.models.checkpoint import load_denoiser
from lsr.models.mixture import ExpertMixture, Model
from lsr.training.module import LinearSRModule
from lsr.training.validation_loss import loss_at_times


class ExpertQuality(L.Callback):
    """Draws the validation loss by flow time, of the experts and of the knee they started from.

    The figure also shows the boundaries between the experts. It is written after every validation
    to the loggers (`experts/loss_by_time`) and as PNG (`experts/step-<step>.png` in the run
    folder); `experts/loss_by_time.json` has the newest numbers. With the callback `EMA` the
    experts' averaged weights are evaluated. The knee is evaluated in the first validation of a run;
    its losses are kept in the checkpoint.

    Args:
        bins: Number of times, evenly spread before the shift.

    Raises:
        ValueError: If `bins` is below 1.
    """

    def __init__(self, bins: int = 24) -> None:
        if bins < 1:
            raise ValueError(f"bins must be at least 1, not {bins}")
        self.times = [(i + 0.5) / bins for i in range(bins)]
        self._knee_losses: list[float] | None = None
        self._knee: Model | None = None
        self._sums: dict[str, Tensor] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before training, delete temporary files that a killed launch has left."""
        if stage == "fit" and trainer.is_global_zero:
            remove_leftovers(_folder(trainer))

    def state_dict(self) -> dict[str, Any]:
        """Return the losses of the knee: a resumed run does not evaluate the knee again."""
        return {"knee_losses": self._knee_losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the losses of the knee from a checkpoint."""
        self._knee_losses = state_dict["knee_losses"]

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Load the knee if its losses are not known."""
        run = _watched(trainer, pl_module)
        if run is None:
            return
        self._sums = {}
        if self._knee_losses is None or len(self._knee_losses) != len(self.times):
            knee, _ = load_denoiser(verified_seed(run.config))
            mixture = pl_module.denoiser
            assert isinstance(mixture, ExpertMixture)
            for each in knee.denoisers:
                # The autoencoder is there already, and its folder may have moved since.
                each.space = mixture.space
            self._knee = knee.to(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the losses of this batch. EMA has the averaged weights in place here."""
        if _watched(trainer, pl_module) is None or "hr" not in batch:
            return
        assert isinstance(pl_module, LinearSRModule)
        models: dict[str, Model] = {"experts": pl_module.denoiser}
        if self._knee is not None:
            models["knee"] = self._knee
        noise = pl_module.path_noise(batch)
        context = pl_module.guidance(batch)
        for name, model in models.items():
            losses = loss_at_times(model, batch, noise, self.times, pl_module.shift, context)
            # Apple's GPUs (MPS) have no float64.
            precise = torch.float32 if losses.device.type == "mps" else torch.float64
            sums = losses.to(precise).sum(0)
            found = torch.cat([sums, sums.new_full((1,), len(losses))])
            self._sums[name] = self._sums.get(name, 0) + found

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the mean losses over all ranks, on rank 0."""
        if not self._sums:
            return
        means = {name: self._mean(trainer, found) for name, found in self._sums.items()}
        self._knee_losses = means.get("knee", self._knee_losses)
        self._knee = None
        self._sums = {}
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, LinearSRModule) and self._knee_losses is not None
        mixture = pl_module.denoiser
        assert isinstance(mixture, ExpertMixture)
        drawn = {
            "step": trainer.global_step,
            "times": self.times,
            "losses": means["experts"],
            "knee_losses": self._knee_losses,
            "boundaries": list(mixture.boundaries),
            "shift": pl_module.shift,
        }
        write_json(_folder(trainer) / "loss_by_time.json", nan_as_text(drawn))
        figure = draw_loss_by_time(**drawn)
        save_png(figure, _folder(trainer) / f"step-{trainer.global_step:07d}.png")
        where = boards(trainer)
        if where:
            picture = pixels_of(figure)
            show_picture(where, "experts/loss_by_time", picture, trainer.global_step)

    @staticmethod
    def _mean(trainer: L.Trainer, found: Tensor) -> list[float]:
        """Return the mean losses over all ranks from sums of losses, followed by their number."""
        total = trainer.strategy.reduce(found, reduce_op="sum")
        assert isinstance(total, Tensor)
        return (total[:-1] / total[-1]).tolist()


def _folder(trainer: L.Trainer) -> Path:
    return Path(trainer.default_root_dir) / "experts"


def _watched(trainer: L.Trainer, pl_module: L.LightningModule) -> ExpertRun | None:
    """Return the run of experts if this is a validation of their training, else None."""
    run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
    if run.state.fn != "fit" or run.sanity_checking or run.fast_dev_run:
        return None
    return pl_module.expert_run if isinstance(pl_module, LinearSRModule) else None
