"""The file config.yaml of a run folder, and those of earlier launches."""

from pathlib import Path

import lightning as L
from lightning.pytorch.cli import SaveConfigCallback

from lsr.files import atomic_path


class SaveConfigPerLaunch(SaveConfigCallback):
    """Writes the resolved configuration to `config.yaml` in the run folder when training begins.

    The file of an earlier launch is renamed to `config-<n>.yaml`. A run that is refused writes
    nothing.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write nothing yet."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file on rank 0."""
        if trainer.is_global_zero:
            self.save_config(trainer, pl_module, "fit")

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the file, and rename the one that is there."""
        target = Path(trainer.default_root_dir) / "config.yaml"
        if target.is_file():
            earlier = len(list(target.parent.glob("config-*.yaml"))) + 1
            target.rename(target.with_name(f"config-{earlier}.yaml"))
        with atomic_path(target) as temporary:
            temporary.write_text(self.parser.dump(self.config, skip_none=False))
