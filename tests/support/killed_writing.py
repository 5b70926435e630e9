"""Kills a run with a knee while it writes or deletes a file: `python killed_writing.py FOLDER`.

Each run is killed at one place and started again, and then has to end like one that nobody killed.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import torch

import lsr.knee.folder as knee_folder
import lsr.models.checkpoint as model_files
from callbacks import EMA, LastCheckpoint
from lsr.knee.candidate_files import CandidateFiles
from lsr.knee.folder import read_manifest
from lsr.knee.provisional import is_published, read_provisional
from support.scripted import Scripted, fit


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def tear(module: ModuleType, name: str, count: int) -> None:
    """Kill in the middle of a file that `module.name(content, path, ...)` writes."""
    write = getattr(module, name)
    calls = iter(range(count))

    def torn(content, path, *more):
        write(content, path, *more)
        if next(calls, None) is None:
            os.truncate(path, path.stat().st_size // 2)
            kill()

    setattr(module, name, torn)


def after_a_candidate_is_deleted(count: int) -> None:
    """Kill before the checkpoint that does not need the candidate."""
    delete = CandidateFiles.delete
    calls = iter(range(count))

    def deletes(files, steps):
        delete(files, steps)
        if steps and next(calls, None) is None:
            kill()

    CandidateFiles.delete = deletes


def while_the_knee_is_published(count: int) -> None:
    """Kill when the hidden folder has all files."""
    knee_folder._sync = lambda path: kill()


PLACES: dict[str, tuple[Callable[[int], None], int]] = {
    "the first checkpoint": (partial(tear, torch, "save"), 0),
    "a checkpoint": (partial(tear, torch, "save"), 8),
    "a candidate": (partial(tear, model_files, "save_file"), 8),
    "deleting": (after_a_candidate_is_deleted, 2),
    "publishing": (while_the_knee_is_published, 0),
}
"""Where a run is killed, and after how many calls."""


def train(folder: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Train in a process of its own, from the last checkpoint if there is one; return its status.

    What it prints is in `output.txt`.
    """
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    folder.mkdir(exist_ok=True)
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    status = 1
    try:
        prepare()
        last = folder / "checkpoints" / "last.ckpt"
        fit(
            folder,
            Scripted(),
            ckpt_path=last if last.exists() else None,
            callbacks=lambda knee, checkpoint: [
                EMA(0.5),
                knee,
                LastCheckpoint(f"{folder}/checkpoints"),
            ],
        )
        status = 0
    finally:
        if status:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        os._exit(status)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for pattern in (".*.tmp", ".knee-*") for path in folder.rglob(pattern))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    assert train(folder / "whole") == 0
    seed = read_manifest(folder / "whole" / "knee")["sha256"]
    for place, (kill_at, count) in PLACES.items():
        run = folder / place
        killed = train(run, lambda kill_at=kill_at, count=count: kill_at(count))
        assert os.WIFSIGNALED(killed), f"{place}: was not killed"
        assert bool(leftovers(run)) == (place != "deleting"), place
        assert not is_published(run / "knee"), place
        assert train(run) == 0, f"{place}: see output.txt"
        assert leftovers(run) == [], place
        assert read_manifest(run / "knee")["sha256"] == seed, place
        assert read_provisional(run / "knee") is None, place
        assert "missing" not in (run / "output.txt").read_text(), place


if __name__ == "__main__":
    main(Path(sys.argv[1]))
