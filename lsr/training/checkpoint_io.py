"""Write Lightning checkpoints atomically, and read them without executing code in them."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lsr.files import atomic_path
from lsr.models.checkpoint import DENOISER_PREFIX, MODEL_CONFIG, read_weights


class AtomicCheckpointIO(TorchCheckpointIO):
    """Reads and writes Lightning checkpoints.

    A checkpoint is complete or does not exist, even after a power cut.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a temporary file in the same folder, flush it to the disk, and rename it."""
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Return the contents of a checkpoint. Only tensors and plain values are unpickled.

        A file written by `save_denoiser` (.safetensors) is accepted too. It has weights and the
        model's configuration only, which is enough for evaluation.

        Raises:
            ValueError: If the file is missing or is not a checkpoint.
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
        except Exception as error:  # pickle, zip and torch raise different types
            raise ValueError(
                f"{path}: not a checkpoint, or damaged ({type(error).__name__})"
            ) from error
