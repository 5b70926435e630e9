"""The file config.yaml of a run folder, and those of earlier launches."""

from pathlib import Path

import lightning as L
from lightning.pytorch.cli import SaveConfigCallback

from lsr.files import atomic_path


class SaveConfigPerLaunch(SaveConfigCallback):
    """Writes the resolved configuration to `config.yaml` in the run folder.

    The file of an earlier launch is renamed to `config-<n>.yaml`.
    """

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write the file; Lightning calls this on rank 0. Only training changes a run folder."""
        if stage != "fit":
            return
        target = Path(trainer.default_root_dir) / "config.yaml"
        if target.is_file():
            earlier = len(list(target.parent.glob("config-*.yaml"))) + 1
            target.rename(target.with_name(f"config-{earlier}.yaml"))
        with atomic_path(target) as temporary:
            temporary.write_text(self.parser.dump(self.config, skip_none=False))
