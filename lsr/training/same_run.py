"""Callback that keeps a run one run: the same settings after a resume, the same start on all ranks.

`lsr fit` adds it to every run.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.distributed.tensor import DTensor

from lsr.distributed.ranks import check_alike
from lsr.knee.folder import SEED
from lsr.training.run_record import (
    PHOTOGRAPHS,
    RUN_RECORD,
    changes,
    check_changes,
    read_record,
    run_record,
)

_BLOCKS = 64
"""Number of blocks of a file that its digest takes in."""

_BLOCK = 64 * 2**10
"""Bytes of a block."""


class SameRun(L.Callback):
    """Compares a run with the run that it continues, and its ranks with each other.

    Every checkpoint gets a record of the run's settings, see `lsr.training.run_record`.

    Args:
        settings: All settings of `lsr fit`.
        may_differ: Names of settings that may change the samples of a continued run.

    Attributes:
        notice: Line that is printed when training begins, if no error comes before; or None.
        begun: Whether training has begun.
    """

    def __init__(self, settings: Mapping[str, Any], may_differ: Sequence[str]) -> None:
        self._settings = settings
        self._may_differ = may_differ
        self._checkpoint: Path | None = None
        self._before: dict[str, Any] | None = None
        self.notice: str | None = None
        self.begun = False

    def continue_from(self, trainer: L.Trainer, path: Path, data: object) -> None:
        """Compare the settings with those of a checkpoint; all differences become one notice.

        Args:
            trainer: The trainer.
            path: The checkpoint that the run continues.
            data: The DataModule.

        Raises:
            ValueError: If the file is not a checkpoint, or a difference makes it another run.
        """
        self._checkpoint = path
        if not path.is_file():
            return  # on this machine; `setup` compares the ranks
        step, self._before = read_record(path)
        if self._before is None:
            self.notice = f"{path} does not record its settings: they were not compared"
        else:
            found = changes(self._before, self._record(trainer, data))
            self.notice = check_changes(path, step, found, self._may_differ)

    def _record(self, trainer: L.Trainer, data: object) -> dict[str, Any]:
        batch_size = getattr(data, "batch_size", None)
        photographs = getattr(data, "training_lengths", ())
        return run_record(self._settings, trainer.world_size, batch_size, photographs)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compare the files that the ranks start from, and the number of training photographs.

        Raises:
            ValueError: On every rank, if two ranks differ or the number has changed.
        """
        now = self._record(trainer, getattr(trainer, "datamodule", None))
        if trainer.world_size > 1:
            start = [_content(path) for path in self._sources()] or ["no file"]
            check_alike("files", f"{', '.join(start)}, photographs {now[PHOTOGRAPHS]}")
        if self._before is not None and self._checkpoint is not None:
            found = [each for each in changes(self._before, now) if each.name == PHOTOGRAPHS]
            check_changes(self._checkpoint, 0, found, self._may_differ)

    def _sources(self) -> list[Path]:
        """Return the files with the weights that the run starts from."""
        if self._checkpoint is not None:
            return [self._checkpoint]
        model = self._settings["model"]
        seed = (model.get("experts") or {}).get("seed")
        paths = [Path(path) for path in (model.get("init_from"), seed) if path is not None]
        return [path / SEED if path.is_dir() else path for path in paths]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the notice: the checkpoint has been loaded by now."""
        if self.notice and trainer.is_global_zero:
            sys.stderr.write(f"lsr fit: {self.notice}\n")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare step and weights of the ranks before the first batch.

        Raises:
            ValueError: On every rank, if two ranks differ.
        """
        if trainer.world_size > 1:
            weights = digest(pl_module.state_dict())
            check_alike("weights", f"step {trainer.global_step} with weights {weights}")
        self.begun = True

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the record, and warn of a checkpoint inside an accumulation window."""
        data = getattr(trainer, "datamodule", None)
        checkpoint[RUN_RECORD] = self._record(trainer, data)
        progress = trainer.fit_loop.epoch_loop.batch_progress
        inside = progress.current.ready % trainer.accumulate_grad_batches
        if inside and trainer.fit_loop.epoch_loop._should_accumulate():
            rank_zero_warn(
                f"the checkpoint of step {trainer.global_step} lies inside an accumulation window: "
                f"a run that continues it loses the gradients of {inside} batches"
            )


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of all tensors that are not sharded: the parts of ranks differ anyway."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            found.update(name.encode())
            found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()[:12]


def _content(path: Path) -> str:
    """Return the name of a file, and a digest of its size and of blocks spread over it.

    Two checkpoints differ in nearly all their weights, and a whole one may have 100 GB.
    """
    if not path.is_file():
        return f"no {path}"
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(_BLOCKS):
            file.seek(max(0, size - _BLOCK) * number // (_BLOCKS - 1))
            found.update(file.read(_BLOCK))
    return f"{path.name} with digest {found.hexdigest()[:12]}"
