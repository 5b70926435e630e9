"""KneeFiles: the files of a knee in a run, its candidates and the published folder."""

import logging
import math
import os
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info

from callbacks.needs_of_checkpoints import NeedsOfCheckpoints
from lsr.files import remove_leftovers, sha256_of
from lsr.knee import KneeDetector, KneeVerdict
from lsr.knee.candidate_files import CandidateFiles
from lsr.knee.folder import SEED, check_published, publish_verdict, remove_unfinished
from lsr.knee.provisional import (
    FILE,
    ProvisionalKnee,
    is_published,
    read_provisional,
    remove_provisional,
    write_provisional,
)
from lsr.runs.history import Validation
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
        checkpoints: The candidates that checkpoints need.
        run: Random name of the run, which tells its own knee from another one.
    """

    def __init__(self, name: str, state_key: str) -> None:
        self.name = name
        self.checkpoints = NeedsOfCheckpoints(state_key)
        self.move_to(Path())
        self.start_again()

    def start_again(self) -> None:
        """Begin another run, without candidates."""
        self.run = secrets.token_hex(8)
        self.digests: dict[int, str] = {}
        self._previous: set[int] = set()

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
        checkpoints = self.root / "checkpoints"
        for folder in (self.root, checkpoints, self.candidates.folder, self.published):
            remove_leftovers(folder)  # of a launch that was killed
        remove_unfinished(self.published)
        knee = None if verdict is None else verdict.knee_step
        digest = None if knee is None else self.digests.get(knee)
        check_published(self.published, self.run, verdict, digest)
        if verdict is None or (knee is not None and is_published(self.published)):
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

    def restore_provisional(
        self, knee: ProvisionalKnee | None, kept: Collection[int]
    ) -> ProvisionalKnee | None:
        """Return the provisional knee of a run before it trains; None if its weights are lost.

        The file in the folder may be of a later step than the checkpoint, or of another run. It is
        not worth an error: `announce` replaces it.

        Args:
            knee: The provisional knee of the run, None if there is none.
            kept: Steps whose weights are there.
        """
        if knee is not None and knee.step not in kept:
            log.warning("provisional knee at step %s withdrawn: its weights are lost", knee.step)
            knee = None
        found = read_provisional(self.published)
        if found and (knee is None or found["judged_at_step"] != knee.judged_at_step):
            instead = "removed" if knee is None else f"replaced by step {knee.step:,}"
            rank_zero_info(
                f"{self.published / FILE} (step {found['step']:,}) is later than the checkpoint, "
                f"or of another run: it is {instead}"
            )
        return knee

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
        self.candidates.delete(unused - self.checkpoints.find(trainer, self.root, self._previous))
        self._previous = set(verdict.candidates)
        self.digests = {
            step: self.digests[step] for step in verdict.candidates if step in self.digests
        }

    def announce(
        self, knee: ProvisionalKnee | None, history: Sequence[Validation], change: str = ""
    ) -> None:
        """Write the provisional knee into the folder of the knee, or remove it if there is none.

        Args:
            knee: The provisional knee.
            history: The validations so far.
            change: One line for the log, "" for none.
        """
        if change:
            rank_zero_info(change)
        if is_published(self.published):
            return
        if knee is None:
            remove_provisional(self.published)
            return
        logged = next(v.values for v in history if v.step == knee.step)
        metrics = {name: value for name, value in logged.items() if math.isfinite(value)}
        weights = self.candidates.path(knee.step)
        digest = self.digests.get(knee.step) or sha256_of(weights)  # unknown to older checkpoints
        where = weights.relative_to(self.root).as_posix()
        write_provisional(self.published, knee, metrics, where, digest)

    def publish(
        self, verdict: KneeVerdict, history: Sequence[Validation], detector: KneeDetector
    ) -> None:
        """Publish a confirmed knee, unless it is published.

        Raises:
            ValueError: If another knee has been published in the folder meanwhile.
        """
        assert verdict.knee_step is not None
        weights = self.candidates.path(verdict.knee_step)
        if weights.exists() or not is_published(self.published):
            publish_verdict(
                self.published, weights, verdict, history, detector, _versions(), self.run
            )


def _candidates(root: Path, name: str) -> Path:
    return root / "checkpoints" / ("candidates" if name == "knee" else f"candidates-{name}")


def folder_of_run(trainer: L.Trainer, module: L.LightningModule, dirpath: str | None) -> Path:
    """Return the folder for the files of a knee, the same on all ranks, which all must call this.

    It is an absolute path: the run may change its working folder.

    Args:
        trainer: The trainer.
        module: The module that is trained.
        dirpath: The folder if the user has chosen one. Otherwise it is the run folder of a
            `LinearSRModule`, and the folder of the first logger for any other module.

    Raises:
        ValueError: If the folder is an address such as `s3://...`.
    """
    folder = str(_chosen_folder(trainer, module) if dirpath is None else dirpath)
    if "://" in folder:
        raise ValueError(
            f"the files of a knee cannot be written to {folder}: set dirpath of the callback "
            "KneePointCallback to a folder of this machine"
        )
    return Path(trainer.strategy.broadcast(str(Path(folder).expanduser().absolute())))


def _chosen_folder(trainer: L.Trainer, module: L.LightningModule) -> str:
    run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
    if isinstance(module, LinearSRModule) or not trainer.loggers or run.fast_dev_run:
        return trainer.default_root_dir
    logger = trainer.loggers[0]
    folder = logger.log_dir
    if folder is None:  # as in ModelCheckpoint: a logger whose save_dir is common to all runs
        save_dir = logger.save_dir or trainer.default_root_dir
        folder = os.path.join(save_dir, str(logger.name), str(logger.version))
    return folder


def _versions() -> dict[str, str]:
    from lsr import __version__

    return {"lsr": __version__, "torch": str(torch.__version__), "lightning": L.__version__}
