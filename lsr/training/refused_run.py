"""A run that is refused before its first batch leaves its folder as it was."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

_WRITTEN_BEFORE = ("events.out.tfevents.*", "hparams.yaml", "niqe.mat")
"""Names of the files that loggers and metrics write before the first batch."""


@contextlib.contextmanager
def left_as_found(folder: Path, begun: Callable[[], bool]) -> Iterator[None]:
    """Delete the new files of a run that fails inside the block before it has begun.

    Only files that a run writes before its first batch are deleted, and folders that are then
    empty.

    Args:
        folder: The run folder, which need not exist.
        begun: Function that returns whether training has begun.
    """
    before = {folder, *folder.rglob("*")} if folder.is_dir() else set()
    try:
        yield
    except Exception:
        if not begun():
            _delete_new(folder, before)
        raise


def _delete_new(folder: Path, before: set[Path]) -> None:
    for name in _WRITTEN_BEFORE:
        for path in set(folder.rglob(name)) - before:
            path.unlink(missing_ok=True)
    new_folders = {path for path in (folder, *folder.rglob("*")) if path.is_dir()} - before
    for path in sorted(new_folders, reverse=True):  # the deepest first
        with contextlib.suppress(OSError):  # it is not empty
            path.rmdir()
