"""KneePointCallback: finds the knee of the validation curves, and publishes its weights."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from callbacks.knee_board import KneeBoard
from lsr.batch import Batch
from lsr.distributed.ranks import on_rank_zero
from lsr.knee import KneeDetector, KneeVerdict
from lsr.knee.folder import FOLDER, SEED, keep_candidates, publish_verdict
from lsr.models.checkpoint import save_denoiser
from lsr.runs.history import Validation
from lsr.training.divergence import check_weights, end_diverged, remove_report
from lsr.training.module import LinearSRModule

NO_REFERENCE = {"val/maniqa": "max", "val/musiq": "max", "val/clipiqa": "max"}
"""Default metrics. They need no ground truth."""


class KneePointCallback(Checkpoint):
    """Watches validation metrics, keeps candidate checkpoints, publishes the knee and stops there.

    At the end of every validation the metrics of rank 0 are sent to all ranks, and every rank runs
    the same `lsr.knee.KneeDetector` on them: all ranks decide alike without further communication.
    The weights that were validated (the average, with the callback `EMA`) are written to
    `checkpoints/candidates/`, where only the detector's candidates are kept. When the detector
    confirms a knee, its candidate becomes `knee/seed.safetensors`, with `knee.json` and `knee.png`.
    This folder is read-only, and is complete or does not exist.

    The state is part of every checkpoint, also of those written after the same validation: the
    callback moves itself before all other `Checkpoint` callbacks. So a resumed run has the same
    verdicts, and publishes a knee that a killed run had confirmed but not published.

    Weights, a validation metric or a training loss that are not finite end the run as diverged,
    with `divergence.json` and exit code 3. They are checked at validations only, and gradients are
    not checked: without the callback `DivergenceGuard`, NaN may reach the weights, and checkpoints
    written before the next validation.

    Args:
        metrics: Watched metrics and their directions, "max" or "min".
        loss: Name of the training loss, drawn together with the metrics.
        stop: Whether to stop training when the knee is confirmed.
        min_step: Step before which no knee is confirmed.
        confidence: See `KneeDetector`.
        wait: See `KneeDetector`.
        max_candidates: Number of candidate checkpoints kept at most.

    Raises:
        ValueError: If a setting is out of range; at the first validation, if a metric is not
            logged.
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
    ) -> None:
        super().__init__()
        self.detector = KneeDetector(
            dict(metrics or NO_REFERENCE),
            min_step=min_step,
            confidence=confidence,
            wait=wait,
            max_candidates=max_candidates,
        )
        self.loss = loss
        self.stop = stop
        self.history: list[Validation] = []
        self.verdict: KneeVerdict | None = None
        self.best_model_path = ""
        self._validated: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self._board = KneeBoard()

    def state_dict(self) -> dict[str, Any]:
        """Return detector, history and verdict as plain values."""
        return {
            "detector": self.detector.state_dict(),
            "history": [asdict(validation) for validation in self.history],
            "verdict": None if self.verdict is None else asdict(self.verdict),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore detector, history and verdict from a checkpoint.

        In older checkpoints the state also has an entry "guard", which is ignored.
        """
        self.detector.load_state_dict(state_dict["detector"])
        self.history = [Validation(**record) for record in state_dict["history"]]
        verdict = state_dict["verdict"]
        self.verdict = None if verdict is None else KneeVerdict.from_plain(verdict)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Move before the callbacks that write checkpoints: they then save the current verdict."""
        run: Any = trainer  # Lightning does not declare the attribute `callbacks`
        others = [callback for callback in run.callbacks if callback is not self]
        first = next(
            (i for i, callback in enumerate(others) if isinstance(callback, Checkpoint)),
            len(others),
        )
        # A new list, because Lightning is iterating over the old one.
        run.callbacks = [*others[:first], self, *others[first:]]
        seed = Path(trainer.default_root_dir) / FOLDER / SEED
        self.best_model_path = str(seed) if seed.is_file() else ""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Delete the report of a divergence in an earlier launch."""
        remove_report(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Publish a knee that a killed run had confirmed, and do not train beyond it."""
        self._board.open(trainer, list(self.detector.metrics))
        if self.verdict is not None and self.verdict.knee_step is not None:
            self._publish(trainer)
            trainer.should_stop = self.stop

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the weights: metrics raise errors of their own if images are not finite."""
        if self._watches(trainer):
            check_weights(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Copy the weights at the first batch, while the average is in place of the raw weights."""
        if batch_idx == 0 and dataloader_idx == 0 and self._watches(trainer):
            assert isinstance(pl_module, LinearSRModule)
            weights, config = pl_module.exported()  # on every rank: it gathers sharded weights
            if trainer.is_global_zero:
                copies = {n: w.detach().to("cpu", copy=True) for n, w in weights.items()}
                self._validated = copies, config

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ask the detector for its verdict; then keep candidates, publish the knee, and stop.

        Raises:
            DivergenceError: If the detector has found the metrics or the loss diverged.
            ValueError: If this is the first validation and a watched metric is not logged.
        """
        if not self._watches(trainer):
            return
        validation = self._values(trainer)
        self.verdict = self.detector.update(validation.step, validation.values, validation.loss)
        self.history.append(validation)
        if not self.verdict.diverged:
            on_rank_zero(trainer.strategy, lambda: self._keep_candidates(trainer))
            self._validated = None
        if self.verdict.confirmed_at_step == validation.step:
            self._publish(trainer)
            trainer.should_stop = trainer.should_stop or self.stop
        # Last, because from here on the thread that draws competes with this one.
        self._board.show(trainer, self.history, self.verdict, self.detector.metrics)
        if self.verdict.diverged:
            end_diverged(trainer, pl_module, f"validation: {self.verdict.reason}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait for the last figure."""
        self._board.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Wait for the last figure."""
        self._board.close()

    def _watches(self, trainer: L.Trainer) -> bool:
        """Return whether this is a validation of training that was not seen yet."""
        repeated = bool(self.history) and self.history[-1].step == trainer.global_step
        run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
        skipped = run.sanity_checking or run.fast_dev_run or repeated
        return run.state.fn == "fit" and not skipped

    def _values(self, trainer: L.Trainer) -> Validation:
        """Return the values of this validation: those of rank 0 on every rank."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        logged = trainer.strategy.broadcast(logged, src=0)
        missing = [name for name in self.detector.metrics if name not in logged]
        if missing and not self.history:
            raise ValueError(
                f"the knee watches {', '.join(missing)}, but validation does not log it; "
                f"it logs {', '.join(sorted(logged))}"
            )
        values = {name: logged[name] for name in self.detector.metrics if name in logged}
        return Validation(trainer.global_step, values, logged.get(self.loss))

    def _keep_candidates(self, trainer: L.Trainer) -> None:
        assert self.verdict is not None and self._validated is not None
        weights, config = self._validated
        keep_candidates(
            Path(trainer.default_root_dir),
            self.verdict.candidates,
            self.history[-1].step,
            lambda path: save_denoiser(path, weights, config),
        )

    def _publish(self, trainer: L.Trainer) -> None:
        run = Path(trainer.default_root_dir)
        verdict = self.verdict
        assert verdict is not None
        on_rank_zero(
            trainer.strategy,
            lambda: publish_verdict(run, verdict, self.history, self.detector, _versions()),
        )
        end = "; training ends here" if self.stop else ""
        rank_zero_info(
            f"knee at step {verdict.knee_step}, confirmed at step {verdict.confirmed_at_step}: "
            f"{run / FOLDER}{end}"
        )
        self.best_model_path = str(run / FOLDER / SEED)


def _versions() -> dict[str, str]:
    from lsr import __version__

    return {"lsr": __version__, "torch": str(torch.__version__), "lightning": L.__version__}
