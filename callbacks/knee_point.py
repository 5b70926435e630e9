"""KneePointCallback: finds the knee of the validation curves, and publishes its weights."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L

from callbacks.best_checkpoint import put_best_first
from callbacks.knee_board import KneeBoard
from callbacks.knee_files import KneeFiles, folder_of_run
from callbacks.knee_outcome import print_knee, print_no_knee
from callbacks.validated_weights import ValidatedWeights
from callbacks.validation_results import check_logged, fresh_metrics
from lsr.distributed.ranks import on_rank_zero
from lsr.knee import KneeDetector, KneeVerdict
from lsr.knee.folder import FOLDER
from lsr.knee.provisional import ProvisionalKnee, revise
from lsr.models.attention_health import HEADROOM
from lsr.runs.history import Validation
from lsr.training.divergence import check_weights, end_diverged, remove_report
from lsr.training.module import LinearSRModule

NO_REFERENCE = {"val/maniqa": "max", "val/musiq": "max", "val/clipiqa": "max"}
"""Default metrics. They need no ground truth."""


class KneePointCallback(L.Callback):
    """Watches validation metrics of any LightningModule, publishes the knee and stops there.

    At the end of every validation rank 0 gives the metrics that were logged since its start to a
    `lsr.knee.KneeDetector` and sends the verdict to all ranks. The weights that were validated (the
    average, with the callback `EMA`) are written to `checkpoints/candidates/`. When the detector
    confirms a knee, its candidate becomes `knee/seed.safetensors`, with `knee.json` and `knee.png`.
    These files are read-only, and appear together. They are published once the callbacks that save
    checkpoints had their turn, so that a resumed run knows the knee in its folder. Until then,
    `knee/provisional.json` names the likeliest step, and the log tells each of its changes.

    The seed holds the state dict of the module, or what its method `exported()` returns on every
    rank, if it has one: weights by name, and a configuration of plain values for the metadata.

    The state is part of every checkpoint, also of those written after the same validation. So a
    resumed run has the same verdicts, and publishes a knee that a killed run had confirmed but not
    published. A knee that another run has published is refused before training; candidates whose
    files are missing are given up with a warning.

    Weights, a validation metric or a training loss that are not finite end the run as diverged,
    with `divergence.json` and exit code 3. They are checked at validations only: without the
    callback `DivergenceGuard`, NaN may reach the weights and checkpoints in between.

    Args:
        metrics: Watched metrics and their directions, "max" or "min".
        loss: Name of the training loss, drawn together with the metrics.
        stop: Whether to stop training when the knee is confirmed.
        min_step: Step before which no knee is confirmed.
        confidence: See `KneeDetector`.
        wait: See `KneeDetector`.
        max_candidates: Number of candidate checkpoints kept at most.
        dirpath: Folder for `knee/` and `checkpoints/candidates/`. None takes the run folder of a
            `LinearSRModule`; for other modules the folder of the first logger, or
            `default_root_dir` without a logger.
        name: Name of the published folder. Several instances need different names.

    Attributes:
        detector: The detector; only that of rank 0 is up to date.
        history: All validations so far.
        verdict: The verdict on the last one.
        best_model_path: The published seed, "" if there is none.

    Raises:
        ValueError: If a setting is out of range; at the first validation, or at a sanity check that
            logs anything, if a metric is not logged; before training, if another knee is in the
            folder, or the folder is an address such as `s3://...`.
    """

    def __init__(
        self,
        metrics: Mapping[str, str] | None = None,
        loss: str = "train/loss",
        stop: bool = True,
        min_step: int = 0,
        confidence: float = 0.95,
        wait: float = 0.25,
        max_candidates: int = 6,
        dirpath: str | None = None,
        name: str = FOLDER,
    ) -> None:
        super().__init__()
        self.detector = KneeDetector(
            dict(metrics or NO_REFERENCE),
            min_step=min_step,
            confidence=confidence,
            wait=wait,
            max_candidates=max_candidates,
        )
        if not name or name in (".", "..") or "/" in name:
            raise ValueError(f"name must be that of a folder, not {name!r}")
        self.loss = loss
        self.stop = stop
        self.dirpath = dirpath
        self.name = name
        self.history: list[Validation] = []
        self.verdict: KneeVerdict | None = None
        self.best_model_path = ""
        self._files = KneeFiles(name, self.state_key)
        self._restored_root: Path | None = None
        self._provisional: ProvisionalKnee | None = None
        self._validated = ValidatedWeights()
        self._board = KneeBoard()

    @property
    def state_key(self) -> str:
        """Key of the state in checkpoints. It contains the name, unless that is the default."""
        key = super().state_key
        return key if self.name == FOLDER else f"{key}{{'name': {self.name!r}}}"

    def state_dict(self) -> dict[str, Any]:
        """Return detector, history, verdicts, digests, names of run and folder: plain values."""
        return {
            "detector": self.detector.state_dict(),
            "history": [asdict(each) for each in self.history],
            "verdict": None if self.verdict is None else asdict(self.verdict),
            "provisional": None if self._provisional is None else asdict(self._provisional),
            "digests": dict(self._files.digests),
            "root": str(self._files.root.absolute()),
            "run": self._files.run,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; older ones lack digests, provisional knee and name of the run."""
        self.detector.load_state_dict(state_dict["detector"])
        self.history = [Validation(**record) for record in state_dict["history"]]
        verdict = state_dict["verdict"]
        self.verdict = None if verdict is None else KneeVerdict.from_plain(verdict)
        known = state_dict.get("provisional")
        self._provisional = None if known is None else ProvisionalKnee.from_plain(known)
        self._files.digests = dict(state_dict.get("digests", {}))
        self._files.run = state_dict.get("run", self._files.run)
        root = state_dict.get("root")
        self._restored_root = None if root is None else Path(root)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Count the checkpoints, whose needs of candidates are known, and save what was logged."""
        self._files.checkpoints.count_save(trainer)
        self._board.save(trainer)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose the folder. For a `LinearSRModule` the published knee is the best checkpoint."""
        if stage == "fit" and trainer.global_step == 0:
            self._start_again()
        self._files.move_to(folder_of_run(trainer, pl_module, self.dirpath))
        self.best_model_path = self._files.seed
        if isinstance(pl_module, LinearSRModule):
            put_best_first(trainer, self)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier launch: the report of its divergence, its knee to be published."""
        remove_report(trainer)
        self._to_publish = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the files; publish a knee that a killed run had confirmed, and stop there.

        Raises:
            ValueError: If another knee is in the folder, or the confirmed one has lost its weights.
        """
        run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
        if run.fast_dev_run:
            return
        self._board.open(trainer, list(self.detector.metrics))
        on_rank_zero(trainer.strategy, self._restore_files)
        self.verdict = trainer.strategy.broadcast(self.verdict, src=0)
        if self._is_confirmed:
            self._publish(trainer)
            trainer.should_stop = trainer.should_stop or self.stop

    def _start_again(self) -> None:
        """Forget another run that this callback has watched. Checkpoints are restored later."""
        self.detector = KneeDetector(**self.detector.settings)
        self.history = []
        self.verdict = self._provisional = None
        self._files.start_again()

    def _restore_files(self) -> None:
        before = self.verdict
        self.verdict = self._files.restore(before, self._restored_root)
        kept = set() if self.verdict is None else set(self.verdict.candidates)
        if before is not None:
            self.detector.forget(set(before.candidates) - kept)
        if not self._is_confirmed:
            self._provisional = self._files.restore_provisional(self._provisional, kept)
            self._files.announce(self._provisional, self.history)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the weights: metrics raise errors of their own if images are not finite."""
        self._validated.clear()
        if self._watches(trainer):
            check_weights(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Copy the weights at the first batch, while the average is in place; once only."""
        if not self._validated.has_copied and not self._is_confirmed and self._watches(trainer):
            self._validated.copy(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask the detector for its verdict; then keep candidates, publish the knee, and stop.

        Raises:
            DivergenceError: If the detector has found the metrics or the loss diverged.
            ValueError: If a watched metric is not logged in the sanity check or first validation.
        """
        run: Any = trainer  # Lightning does not declare the attribute `sanity_checking`
        if run.sanity_checking and not self.history:
            logged = trainer.strategy.broadcast(fresh_metrics(trainer, self.loss), src=0)
            if logged:  # many modules log nothing in this check
                check_logged(self.detector.metrics, logged, "the sanity check")
        was_confirmed = self._is_confirmed
        if not self._watches(trainer) or not (self._validated.has_copied or was_confirmed):
            return  # a validation without a batch is none
        self.history.append(self._values(trainer))
        on_rank_zero(trainer.strategy, lambda: self._judge(trainer))
        self.verdict = trainer.strategy.broadcast(self.verdict, src=0)
        assert self.verdict is not None
        if self._is_confirmed and not was_confirmed:
            self._to_publish = True
            trainer.should_stop = trainer.should_stop or self.stop
        # Last, because from here on the thread that draws competes with this one.
        self._board.show(trainer, self.history, self.verdict, self.detector.metrics)
        if self.verdict.diverged:
            end_diverged(trainer, pl_module, f"validation: {self.verdict.reason}")

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Publish the knee, once the checkpoints of its validation are written."""
        if self._to_publish:
            self._publish(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Publish the knee if training ended with its validation, or say that there is none."""
        if self._to_publish:
            self._publish(trainer)
        if not self._is_confirmed:
            print_no_knee(trainer, self.verdict, self._files.root)
        self._board.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Wait for the last figure."""
        self._board.close()

    @property
    def _is_confirmed(self) -> bool:
        return self.verdict is not None and self.verdict.knee_step is not None

    def _watches(self, trainer: L.Trainer) -> bool:
        """Return whether this is a validation of training that was not seen yet."""
        repeated = bool(self.history) and self.history[-1].step == trainer.global_step
        run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
        return run.state.fn == "fit" and not (run.sanity_checking or run.fast_dev_run or repeated)

    def _values(self, trainer: L.Trainer) -> Validation:
        """Return the values of this validation: those of rank 0 on every rank."""
        logged = trainer.strategy.broadcast(fresh_metrics(trainer, self.loss), src=0)
        if not self.history:
            check_logged(self.detector.metrics, logged, "validation")
        values = {name: logged[name] for name in self.detector.metrics if name in logged}
        return Validation(trainer.global_step, values, logged.get(self.loss), logged.get(HEADROOM))

    def _judge(self, trainer: L.Trainer) -> None:
        """Judge the newest validation, and keep the weights of the candidates, on rank 0."""
        newest = self.history[-1]
        self.verdict = self.detector.update(newest.step, newest.values, newest.loss)
        if not self.verdict.diverged:
            self._files.keep(trainer, self.verdict, newest.step, self._validated.save)
            self._validated.clear()
        self._provisional, change = revise(self._provisional, self.verdict)
        if not self._is_confirmed:  # else the final knee is published later, in its place
            self._files.announce(self._provisional, self.history, change)

    def _publish(self, trainer: L.Trainer) -> None:
        self._to_publish = False
        verdict = self.verdict
        files = self._files
        assert verdict is not None
        on_rank_zero(trainer.strategy, lambda: files.publish(verdict, self.history, self.detector))
        print_knee(verdict, files.published, self.stop)
        self.best_model_path = files.seed
