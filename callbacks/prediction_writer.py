"""PredictionWriter: writes the SR images of `lsr predict`."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from lsr.batch import Batch
from lsr.files import remove_leftovers
from lsr.images import Photograph, write_png


class PredictionWriter(L.Callback):
    """Writes every SR image to `predictions/<rank>-<number>.png` in the run folder."""

    def __init__(self) -> None:
        self._written = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before prediction, delete temporary files that a killed process has left."""
        if stage == "predict" and trainer.is_global_zero:
            remove_leftovers(_folder(trainer))

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the SR images of a batch."""
        folder = _folder(trainer)
        for sr in outputs:
            pixels = ((sr.float().clamp(-1, 1) + 1) / 2).permute(1, 2, 0).cpu().numpy()
            path = folder / f"{trainer.global_rank}-{self._written:05d}.png"
            write_png(path, Photograph(pixels=pixels))
            self._written += 1

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the folder of the images."""
        rank_zero_info(f"predictions: {_folder(trainer)}")


def _folder(trainer: L.Trainer) -> Path:
    return Path(trainer.default_root_dir) / "predictions"
