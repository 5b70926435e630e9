"""Writes what `lsr predict` predicts."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from lsr.images import Photograph, write_png


class PredictionWriter(L.Callback):
    """Writes every predicted SR image to `predictions/<rank>-<number>.png` in the run folder."""

    def __init__(self) -> None:
        self._written = 0

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the batch."""
        for sr in outputs:
            path = (
                Path(trainer.default_root_dir)
                / "predictions"
                / f"{trainer.global_rank}-{self._written:05d}.png"
            )
            write_png(
                path,
                Photograph(
                    pixels=((sr.float().clamp(-1, 1) + 1) / 2).permute(1, 2, 0).cpu().numpy()
                ),
            )
            self._written += 1

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say where they are."""
        rank_zero_info(f"predictions: {Path(trainer.default_root_dir) / 'predictions'}")
