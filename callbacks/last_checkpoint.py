"""LastCheckpoint: writes checkpoints/last.ckpt, from which a run is resumed."""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from lsr.files import remove_leftovers


class LastCheckpoint(ModelCheckpoint):
    """Writes `last.ckpt` after every validation and at the end of training.

    After a validation it holds the weights that were validated.

    Args:
        dirpath: Folder of the checkpoint.
    """

    def __init__(self, dirpath: str) -> None:
        super().__init__(
            dirpath,
            filename="last",
            every_n_epochs=1,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before training, delete temporary files that a killed launch has left."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and trainer.is_global_zero:
            remove_leftovers(Path(str(self.dirpath)))
            remove_leftovers(Path(trainer.default_root_dir))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoint again if there were steps after the last validation."""
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
