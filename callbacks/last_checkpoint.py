"""checkpoints/last.ckpt: what a run continues from."""

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Writes `last.ckpt` after every validation, so that it holds what was judged, and at the end of training.

    Args:
        dirpath: The folder.
    """

    def __init__(self, dirpath: str) -> None:
        super().__init__(
            dirpath,
            filename="last",
            every_n_epochs=1,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the steps since the last validation too."""
        if self._last_global_step_saved != trainer.global_step:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
