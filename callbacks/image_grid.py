"""ImageGrid: shows validation images as LR | bicubic | SR | HR."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.utils import make_grid

from callbacks.boards import boards, show_picture
from lsr.batch import Batch
from lsr.files import remove_leftovers
from lsr.images import Photograph, write_png
from lsr.images.resampling import upsample_bicubic


class ImageGrid(L.Callback):
    """Shows the first validation images in the loggers and as PNG.

    Each row of the grid is one image: LR (enlarged by nearest neighbour), bicubic, SR, and HR if
    there is ground truth. The PNG files are `images/step-<step>.png` in the run folder, and
    `images/real-step-<step>.png` for real photographs, the second validation loader. Rank 0 shows
    images of its own share. Loggers that take pictures are those of `callbacks.boards`.

    Args:
        max_images: Number of rows.
    """

    def __init__(self, max_images: int = 4) -> None:
        self.max_images = max_images
        self._rows: dict[int, list[list[Tensor]]] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before training, delete temporary files that a killed launch has left."""
        if stage == "fit" and trainer.is_global_zero:
            remove_leftovers(_folder(trainer))

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the rows of this batch. The SR images come from the averaged weights of EMA."""
        run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
        is_trial = run.sanity_checking or run.fast_dev_run
        # Only training changes a run folder.
        if run.state.fn != "fit" or is_trial or not run.is_global_zero:
            return
        rows = self._rows.setdefault(dataloader_idx, [])
        for i in range(min(len(outputs), self.max_images - len(rows))):
            lr = batch["lr"][i]
            sr = outputs[i]
            scale = sr.shape[-1] // lr.shape[-1]
            nearest = F.interpolate(lr[None], scale_factor=scale)[0]
            row = [nearest, upsample_bicubic(lr[None], scale)[0], sr]
            if "hr" in batch:
                row.append(batch["hr"][i])
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
            pixels = (grid * 255).round().byte().permute(1, 2, 0).numpy()
            show_picture(boards(trainer), tag, pixels, trainer.global_step)
            path = _folder(trainer) / f"{prefix}step-{trainer.global_step:07d}.png"
            write_png(path, Photograph(pixels=grid.permute(1, 2, 0).numpy()))
        self._rows = {}


def _folder(trainer: L.Trainer) -> Path:
    return Path(trainer.default_root_dir) / "images"


def _grid(rows: list[list[Tensor]]) -> Tensor:
    """Return the grid (3, H, W) in [0, 1] of images in [-1, 1], padded with white to one size."""
    columns = len(rows[0])
    images = [image for row in rows for image in row]
    height, width = (
        max(sides) for sides in zip(*(image.shape[1:] for image in images), strict=True)
    )
    images = [
        F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1]), value=1.0)
        for image in images
    ]
    grid = make_grid(torch.stack(images), nrow=columns, padding=4, pad_value=1.0)
    return (grid.clamp(-1, 1) + 1) / 2
