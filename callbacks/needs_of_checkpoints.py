"""NeedsOfCheckpoints: the candidates for the knee that checkpoints on the disk need."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from lsr.training.checkpoint_io import read_callback_state


class NeedsOfCheckpoints:
    """Finds which candidates a run needs that is resumed from a checkpoint on the disk.

    A checkpoint of another launch is read, once. What those of this launch need is known.

    Args:
        state_key: Key of the state of `KneePointCallback` in checkpoints.
    """

    def __init__(self, state_key: str) -> None:
        self._state_key = state_key
        self._saves = 0
        self._needs: dict[Path, tuple[tuple[int, int], set[int]]] = {}

    def count_save(self, trainer: L.Trainer) -> None:
        """Note that a checkpoint is written, which needs the candidates of the last validation.

        Such a file is not read again. One that is written in the background may be older.
        """
        if not isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO):
            self._saves += 1

    def find(self, trainer: L.Trainer, root: Path, newest: set[int]) -> set[int]:
        """Return the steps of all candidates that checkpoints need.

        Args:
            trainer: The trainer, in whose folders checkpoints are looked for.
            root: The folder of the knee's files, which is searched too.
            newest: Steps that the checkpoints need which were written since the last call.
        """
        versions = {
            path.absolute(): (path.stat().st_mtime_ns, path.stat().st_size)
            for folder in _folders(trainer, root)
            for path in folder.glob("*.ckpt")
        }
        known = self._needs
        self._needs = {
            path: known[path]
            for path, version in versions.items()
            if path in known and known[path][0] == version
        }
        new = versions.keys() - self._needs.keys()
        own = len(new) <= self._saves  # no other process has put a checkpoint there
        self._saves = 0
        for path in new:
            needs = set(newest) if own else self._read(path)
            self._needs[path] = (versions[path], needs)
        return {step for _, steps in self._needs.values() for step in steps}

    def _read(self, path: Path) -> set[int]:
        state = read_callback_state(path, self._state_key)
        verdict = None if state is None else state["verdict"]
        return set() if verdict is None else set(verdict["candidates"])


def _folders(trainer: L.Trainer, root: Path) -> set[Path]:
    """Return the folders in which checkpoints of a run may lie."""
    callbacks: Any = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    folders = {root, root / "checkpoints", Path(trainer.default_root_dir)}
    folders |= {
        Path(each.dirpath)
        for each in callbacks
        if isinstance(each, ModelCheckpoint) and each.dirpath
    }
    if trainer.ckpt_path is not None:
        folders.add(Path(trainer.ckpt_path).parent)
    return folders
