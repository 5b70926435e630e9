"""KneeFiles: the files of a knee in a run, its candidates and the published folder."""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from lsr.files import remove_leftovers, sha256_of
from lsr.knee import KneeDetector, KneeVerdict
from lsr.knee.candidate_files import CandidateFiles
from lsr.knee.folder import SEED, check_published, publish_verdict, remove_unfinished
from lsr.runs.history import Validation
from lsr.training.checkpoint_io import read_callback_state
from lsr.training.module import LinearSRModule

log = logging.getLogger(__name__)


class KneeFiles:
    """The weights of the candidates, and the published folder. Used on rank 0 only.

    A candidate is deleted only when neither the run nor a checkpoint on the disk needs it, so that
    a run can be resumed from any checkpoint.

    Args:
        name: Name of the published folder.
        state_key: Key of the state of `KneePointCallback` in checkpoints.

    Attributes:
        root: Folder of all these files.
        published: The folder of the published knee.
        candidates: The files of the candidates.
        digests: SHA-256 of the weights of each candidate, by step.
        run: Random name of the run, which tells its own knee from another one.
    """

    def __init__(self, name: str, state_key: str) -> None:
        self.name = name
        self.move_to(Path())
        self.start_again()
        self._state_key = state_key
        self._previous: set[int] = set()
        self._saves = 0
        self._needs: dict[Path, tuple[tuple[int, int], set[int]]] = {}

    def start_again(self) -> None:
        """Begin another run, without candidates."""
        self.run = secrets.token_hex(8)
        self.digests: dict[int, str] = {}

    def move_to(self, root: Path) -> None:
        """Use another folder from now on."""
        self.root = root
        self.published = root / self.name
        self.candidates = CandidateFiles(_candidates(root, self.name))

    @property
    def seed(self) -> str:
        """Path of the published weights, "" if there are none."""
        path = self.published / SEED
        return str(path) if path.is_file() else ""

    def remove_leftovers(self) -> None:
        """Delete temporary files that a killed launch has left."""
        for folder in (self.root, self.root / "checkpoints", self.candidates.folder):
            remove_leftovers(folder)
        remove_unfinished(self.published)

    def count_save(self, trainer: L.Trainer) -> None:
        """Note that a checkpoint is written, which needs the candidates of the last validation.

        Such a file is not read again. One that is written in the background may be older.
        """
        if not isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO):
            self._saves += 1

    def restore(self, verdict: KneeVerdict | None, earlier: Path | None) -> KneeVerdict | None:
        """Check the files of a run before it trains.

        Args:
            verdict: The latest verdict of the run, None for a new run.
            earlier: Folder of the run when the checkpoint was written; candidates that are missing
                are copied from there.

        Returns:
            The verdict, without the candidates whose weights are lost.

        Raises:
            ValueError: If another knee was published in the folder, or the weights of a confirmed
                knee are lost.
        """
        knee = None if verdict is None else verdict.knee_step
        digest = None if knee is None else self.digests.get(knee)
        check_published(self.published, self.run, verdict, digest)
        if verdict is None or (knee is not None and self.published.exists()):
            return verdict
        lost = [step for step in verdict.candidates if not self._recover(step, knee, earlier)]
        if knee in lost:
            raise ValueError(
                f"{self.candidates.path(knee)}: the weights of the confirmed knee are missing or "
                "changed: put the file back, or resume from an earlier checkpoint"
            )
        if lost:
            log.warning(
                "%s: weights of steps %s are missing or changed: they cannot become the knee",
                self.candidates.folder,
                ", ".join(map(str, lost)),
            )
        kept = tuple(step for step in verdict.candidates if step not in lost)
        self._previous = set(kept)
        return replace(verdict, candidates=kept)

    def _recover(self, step: int, knee: int | None, earlier: Path | None) -> bool:
        elsewhere = []
        if earlier is not None:
            elsewhere.append(CandidateFiles(_candidates(earlier, self.name)).path(step))
            if step == knee:
                elsewhere.append(earlier / self.name / SEED)
        return self.candidates.recover(step, self.digests.get(step), elsewhere)

    def keep(
        self,
        trainer: L.Trainer,
        verdict: KneeVerdict,
        newest: int,
        save: Callable[[Path], None],
    ) -> None:
        """Save the weights of the newest validation, and delete those that nothing needs.

        Args:
            trainer: The trainer, whose checkpoints are looked for.
            verdict: The verdict on the newest validation.
            newest: Step of the newest validation; its weights are saved if it is a candidate.
            save: Writes the weights of the newest validation to a path.
        """
        if newest in verdict.candidates:
            save(self.candidates.path(newest))
            self.digests[newest] = sha256_of(self.candidates.path(newest))
        # The newest checkpoint, which is not written yet, replaces one that needs the previous.
        unused = self.candidates.steps() - set(verdict.candidates) - self._previous
        self.candidates.delete(unused - self._needed_by_checkpoints(trainer))
        self._previous = set(verdict.candidates)
        self.digests = {
            step: self.digests[step] for step in verdict.candidates if step in self.digests
        }

    def publish(
        self, verdict: KneeVerdict, history: Sequence[Validation], detector: KneeDetector
    ) -> None:
        """Publish a confirmed knee, unless it is published.

        Raises:
            ValueError: If another knee has been published in the folder meanwhile.
        """
        assert verdict.knee_step is not None
        weights = self.candidates.path(verdict.knee_step)
        if weights.exists() or not self.published.exists():
            publish_verdict(
                self.published, weights, verdict, history, detector, _versions(), self.run
            )

    def _needed_by_checkpoints(self, trainer: L.Trainer) -> set[int]:
        """Return the steps of all candidates of the checkpoints on the disk."""
        callbacks: Any = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        folders = {self.root, self.root / "checkpoints", Path(trainer.default_root_dir)}
        folders |= {
            Path(each.dirpath)
            for each in callbacks
            if isinstance(each, ModelCheckpoint) and each.dirpath
        }
        if trainer.ckpt_path is not None:
            folders.add(Path(trainer.ckpt_path).parent)
        versions = {
            path.absolute(): (path.stat().st_mtime_ns, path.stat().st_size)
            for folder in folders
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
            needs = set(self._previous) if own else self._needs_of(path)
            self._needs[path] = (versions[path], needs)
        return {step for _, steps in self._needs.values() for step in steps}

    def _needs_of(self, path: Path) -> set[int]:
        state = read_callback_state(path, self._state_key)
        verdict = None if state is None else state["verdict"]
        return set() if verdict is None else set(verdict["candidates"])


def _candidates(root: Path, name: str) -> Path:
    return root / "checkpoints" / ("candidates" if name == "knee" else f"candidates-{name}")


def folder_of_run(trainer: L.Trainer, module: L.LightningModule, dirpath: str | None) -> Path:
    """Return the folder for the files of a knee, the same on all ranks, which all must call this.

    Args:
        trainer: The trainer.
        module: The module that is trained.
        dirpath: The folder if the user has chosen one. Otherwise it is the run folder of a
            `LinearSRModule`, and the folder of the first logger for any other module.
    """
    if dirpath is not None:
        return Path(dirpath)
    run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
    if isinstance(module, LinearSRModule) or not trainer.loggers or run.fast_dev_run:
        return Path(trainer.default_root_dir)
    logger = trainer.loggers[0]
    folder = logger.log_dir
    if folder is None:  # as in ModelCheckpoint: a logger whose save_dir is common to all runs
        save_dir = logger.save_dir or trainer.default_root_dir
        folder = Path(save_dir, str(logger.name), str(logger.version))
    return Path(trainer.strategy.broadcast(str(folder)))


def _versions() -> dict[str, str]:
    from lsr import __version__

    return {"lsr": __version__, "torch": str(torch.__version__), "lightning": L.__version__}
