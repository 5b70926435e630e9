"""Reading and writing Lightning checkpoints: atomically, and without unpickling code."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lsr.files import atomic_path
from lsr.models.checkpoint import DENOISER_PREFIX, MODEL_CONFIG, read_weights


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes Lightning checkpoints that are complete or not there, also after a power cut."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write beside the target, fsync, rename."""
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read plain values and tensors, nothing that could run code; weights as `save_denoiser` writes them will do for evaluation.

        Raises:
            ValueError: If the file is missing or no such checkpoint.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"{path}: no such checkpoint")
        try:
            if path.suffix == ".safetensors":
                weights, config = read_weights(path)
                state = {DENOISER_PREFIX + key: value for key, value in weights.items()}
                return {
                    "state_dict": state,
                    MODEL_CONFIG: config,
                    "pytorch-lightning_version": lightning.__version__,
                }
            return torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:  # pickle, zip and torch each have their own kinds
            raise ValueError(f"{path}: not a checkpoint ({type(error).__name__})") from error
