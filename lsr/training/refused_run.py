"""A run that is refused before its first batch, or is only a trial, leaves its folder as it was."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L

_WRITTEN_BEFORE = ("events.out.tfevents.*", "hparams.yaml", "niqe.mat")
"""Names of the files that loggers and metrics write before the first batch."""


@contextlib.contextmanager
def left_as_found(trainer: L.Trainer, begun: Callable[[], bool]) -> Iterator[None]:
    """Delete the new files of a trial, or of a run that fails before it has begun.

    A trial is a run with `fast_dev_run`; its files are deleted however it ends.

    Only files that a run writes before its first batch are deleted, and folders that are then
    empty. They are looked for in the run folder and in those of the loggers, not below: the run
    folder may be the working folder, such as a home folder with millions of files.

    Args:
        trainer: The trainer.
        begun: Function that returns whether training has begun.
    """
    run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
    is_trial = bool(run.fast_dev_run)
    places = [trainer.default_root_dir, *(logger.log_dir for logger in trainer.loggers)]
    folders = [Path(place).absolute() for place in places if place is not None]
    before = _there(folders)
    try:
        yield
    except Exception:
        if not begun():
            _delete_new(folders, before)
        raise
    finally:
        if is_trial:
            _delete_new(folders, before)


def _there(folders: Sequence[Path]) -> set[Path]:
    """Return what exists now: these folders, those above them, and what is in them."""
    above = {path for folder in folders for path in folder.parents if path.is_dir()}
    return above.union(*({folder, *folder.iterdir()} for folder in folders if folder.is_dir()))


def _delete_new(folders: Sequence[Path], before: set[Path]) -> None:
    new = _there(folders) - before
    for path in new:
        if path.is_file() and any(path.match(name) for name in _WRITTEN_BEFORE):
            path.unlink(missing_ok=True)
    for path in sorted((path for path in new if path.is_dir()), reverse=True):  # the deepest first
        with contextlib.suppress(OSError):  # it is not empty
            path.rmdir()
