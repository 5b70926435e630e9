"""What every expert has learnt since the knee: the validation loss by flow time."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from lsr.experts.plot import draw_loss_by_time
from lsr.experts.run import ExpertRun
from lsr.experts.seed import verified_seed
from lsr.figures import save_png
from lsr.models.checkpoint import load_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture
from lsr.training.validation_loss import loss_at_times


class ExpertQuality(L.Callback):
    """Draws the loss of the averaged weights by flow time against that of the knee, with the boundaries of the experts.

    After every validation to TensorBoard (`experts/loss_by_time`) and as PNG (`experts/step-<step>.png` in the run folder). The
    knee is looked at in the first validation of a run; its losses are kept in the checkpoint.

    Args:
        bins: Number of times, evenly spread before the shift.
    """

    def __init__(self, bins: int = 24) -> None:
        if bins < 1:
            raise ValueError(f"bins must be at least 1, not {bins}")
        self.times = [(i + 0.5) / bins for i in range(bins)]
        self._knee_losses: list[float] | None = None
        self._knee: Denoiser | None = None
        self._sums: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the knee's losses, for a resumed run does not look at the knee."""
        return {"knee_losses": self._knee_losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue."""
        self._knee_losses = state_dict["knee_losses"]

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Load the knee if its losses are not known."""
        if not self._judges(trainer, pl_module):
            return
        self._sums = {}
        if self._knee_losses is None or len(self._knee_losses) != len(self.times):
            run = pl_module.expert_run
            assert isinstance(run, ExpertRun)
            knee, mixture = load_denoiser(verified_seed(run.config))[0], pl_module.denoiser
            assert isinstance(knee, Denoiser) and isinstance(mixture, ExpertMixture)
            knee.space = (
                mixture.space
            )  # an autoencoder is loaded once, and not from where it lay in stage 1
            self._knee = knee.to(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Sum up the losses of this batch; the averaged weights are in place here."""
        if not self._judges(trainer, pl_module) or "hr" not in batch:
            return
        models: dict[str, Any] = {"experts": pl_module.denoiser} | (
            {} if self._knee is None else {"knee": self._knee}
        )
        noise, context = pl_module.path_noise(batch), pl_module.guidance(batch)  # pyright: ignore[reportCallIssue]
        for name, model in models.items():
            losses = loss_at_times(model, batch, noise, self.times, pl_module.shift, context)  # pyright: ignore[reportArgumentType]
            found = torch.cat(
                [losses.double().sum(0), losses.new_tensor([len(losses)], dtype=torch.float64)]
            )
            self._sums[name] = self._sums.get(name, 0) + found

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw on rank 0 what all ranks have found."""
        if not self._sums:
            return
        means = {name: self._mean(trainer, found) for name, found in self._sums.items()}
        self._knee_losses, self._knee, self._sums = means.get("knee", self._knee_losses), None, {}
        if not trainer.is_global_zero:
            return
        mixture = pl_module.denoiser
        assert isinstance(mixture, ExpertMixture) and self._knee_losses is not None
        figure = draw_loss_by_time(
            trainer.global_step,
            self.times,
            means["experts"],
            self._knee_losses,
            mixture.boundaries,
            pl_module.shift,  # pyright: ignore[reportArgumentType]
        )
        save_png(
            figure,
            Path(trainer.default_root_dir) / "experts" / f"step-{trainer.global_step:07d}.png",
        )
        canvas: Any = figure.canvas
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                picture = np.asarray(canvas.buffer_rgba())[..., :3]
                logger.experiment.add_image(
                    "experts/loss_by_time", picture, trainer.global_step, dataformats="HWC"
                )

    @staticmethod
    def _judges(trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        fits = trainer.state.fn == "fit" and not trainer.sanity_checking
        return fits and isinstance(getattr(pl_module, "expert_run", None), ExpertRun)

    @staticmethod
    def _mean(trainer: L.Trainer, found: Tensor) -> list[float]:
        total = trainer.strategy.reduce(found, reduce_op="sum")
        assert isinstance(total, Tensor)
        return (total[:-1] / total[-1]).tolist()
