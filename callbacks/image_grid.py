"""Pictures of the validation: LR | bicubic | SR | HR."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid

from lsr.images import Photograph, write_png
from lsr.images.resampling import upsample_bicubic


class ImageGrid(L.Callback):
    """Shows the first validation images as rows LR (nearest) | bicubic | SR | HR (where there is one), in TensorBoard and as PNG.

    The PNGs are written to `images/step-<step>.png` in the run folder, those of a second validation loader, of real photographs, to
    `images/real-step-<step>.png`. Every rank samples, rank 0 shows its own share.

    Args:
        max_images: Rows.
    """

    def __init__(self, max_images: int = 4) -> None:
        self.max_images = max_images
        self._rows: dict[int, list[list[Tensor]]] = {}

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the rows of this batch; the averaged weights are in place here."""
        if (
            trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero
        ):  # only training changes a run folder
            return
        rows = self._rows.setdefault(dataloader_idx, [])
        for i in range(min(len(outputs), self.max_images - len(rows))):
            lr, sr = batch["lr"][i], outputs[i]
            scale = sr.shape[-1] // lr.shape[-1]
            row = [
                F.interpolate(lr[None], scale_factor=scale)[0],
                upsample_bicubic(lr[None], scale)[0],
                sr,
                *batch.get("hr", [])[i : i + 1],
            ]
            rows.append([image.float().cpu() for image in row])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the grids."""
        for dataloader_idx, rows in self._rows.items():
            if not rows:
                continue
            grid = _grid(rows)
            tag, prefix = (
                ("val_real/lr_bicubic_sr", "real-")
                if dataloader_idx
                else ("val/lr_bicubic_sr_hr", "")
            )
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(tag, grid, trainer.global_step)
            path = (
                Path(trainer.default_root_dir)
                / "images"
                / f"{prefix}step-{trainer.global_step:07d}.png"
            )
            write_png(path, Photograph(pixels=grid.permute(1, 2, 0).numpy()))
        self._rows = {}


def _grid(rows: list[list[Tensor]]) -> Tensor:
    columns, images = len(rows[0]), [image for row in rows for image in row]
    height, width = (
        max(sides) for sides in zip(*(image.shape[1:] for image in images), strict=True)
    )
    images = [
        F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1]), value=1.0)
        for image in images
    ]
    return (
        make_grid(torch.stack(images), nrow=columns, padding=4, pad_value=1.0).clamp(-1, 1) + 1
    ) / 2
