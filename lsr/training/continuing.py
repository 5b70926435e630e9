"""Which checkpoint a run continues, and whether it can be continued exactly."""

from collections.abc import Iterator
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint

_NAMED = 5
"""Number of checkpoints that an error message names."""


def last_checkpoint(trainer: L.Trainer) -> Path | None:
    """Return the newest file that `--ckpt_path last` means, or None if no checkpoint is there.

    It is `checkpoints/last.ckpt` in the run folder, a file `last*.ckpt` in the folder of a
    ModelCheckpoint of the run, or what Lightning wrote at an exception or a signal of SLURM.

    Raises:
        ValueError: If there are only checkpoints of other names: a new run next to them would be a
            surprise.
    """
    folder = Path(trainer.default_root_dir)
    places = set(checkpoint_folders(trainer))
    found = {path for place in places for path in place.glob("last*.ckpt")}
    found |= set(folder.glob("hpc_ckpt_*.ckpt"))
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, OnExceptionCheckpoint) and Path(callback.ckpt_path).is_file():
            found.add(Path(callback.ckpt_path))
    if found:
        return max(found, key=lambda path: path.stat().st_mtime_ns)
    others = sorted({path for place in places for path in place.glob("*.ckpt")})
    if others:
        names = ", ".join(str(path) for path in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise ValueError(
            f"--ckpt_path last: {folder} has no last.ckpt, but {names}{more}: name one of them by "
            "--ckpt_path FILE, or choose another folder with --trainer.default_root_dir"
        )
    return None


def checkpoint_folders(trainer: L.Trainer) -> Iterator[Path]:
    """Yield the folders in which a run of this trainer may have left checkpoints, some twice."""
    folder = Path(trainer.default_root_dir)
    yield folder
    yield folder / "checkpoints"
    yield from folder.glob("lightning_logs/*/checkpoints")
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath:
            yield Path(callback.dirpath)


def check_accumulation(trainer: L.Trainer) -> None:
    """Check that validations, and so checkpoints, lie between optimiser steps.

    The gradients of the batches since the latest optimiser step are in no checkpoint. A run that is
    resumed from the middle of an accumulation window would lose them.

    Raises:
        ValueError: If validations are counted in time, or in a number of batches that is no
            multiple of `accumulate_grad_batches`.
    """
    batches = trainer.accumulate_grad_batches
    every = getattr(trainer, "val_check_interval", None)  # Lightning sets none if it is a time
    if batches == 1:
        return
    if every is None:
        raise ValueError(
            f"validations by time fall between optimiser steps of {batches} batches, where a run "
            "cannot be resumed exactly: count batches in --trainer.val_check_interval"
        )
    if not isinstance(every, int) or every % batches == 0:
        return
    below = every - every % batches
    choices = [str(each) for each in (below, below + batches) if each]
    raise ValueError(
        f"validations every {every} batches fall between optimiser steps of {batches} batches, "
        "where a run cannot be resumed exactly: set --trainer.val_check_interval "
        f"{' or '.join(choices)}"
    )
