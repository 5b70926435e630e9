"""ESGF: finds the knee of the validation curves, freezes it as the seed of stage 2, and guards against divergence."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info

from callbacks.divergence_guard import DivergenceGuard
from callbacks.knee_board import KneeBoard
from lsr.distributed.ranks import on_rank_zero
from lsr.knee import KneeDetector, KneeVerdict
from lsr.knee.folder import FOLDER, SEED, keep_candidates, publish_verdict
from lsr.models.checkpoint import save_denoiser
from lsr.runs.history import Validation

NO_REFERENCE = {"val/maniqa": "max", "val/musiq": "max", "val/clipiqa": "max"}


class KneePointCallback(DivergenceGuard, Checkpoint):
    """Watches validation metrics, keeps the checkpoints that may be the knee, publishes the knee, and stops there.

    At the end of every validation rank 0's metrics go to all ranks, and every rank runs the same `lsr.knee.KneeDetector` on
    them: all decide alike without asking each other again. The weights that validation judged (the average, if there is an EMA)
    are written to `checkpoints/candidates/`, of which only the detector's candidates stay. When the knee is confirmed its
    candidate becomes `knee/seed.safetensors`, with `knee.json` and `knee.png`: read-only, whole or not there at all.

    State is part of every checkpoint, also of those written in the same validation: the callback moves itself before any other
    `Checkpoint` callback. So a resumed run has the same history of verdicts, and publishes what a killed one did not.

    Args:
        metrics: Watched metrics and their directions, "max" or "min".
        loss: Name of the training loss, drawn beside the metrics; a non-finite one is a divergence.
        stop: Stop training at the confirmation; False lets it run on.
        min_step: No confirmation before this step.
        confidence: See `KneeDetector`.
        wait: See `KneeDetector`.
        max_candidates: Checkpoints kept.
        action: See `DivergenceGuard`.
        threshold: See `DivergenceGuard`.
        max_skips: See `DivergenceGuard`.

    Raises:
        ValueError: If a setting is out of range; at the first validation, if a metric is not logged.
    """

    def __init__(
        self,
        metrics: Mapping[str, str] | None = None,
        loss: str = "train/loss",
        stop: bool = True,
        min_step: int = 0,
        confidence: float = 0.9,
        wait: float = 0.35,
        max_candidates: int = 6,
        action: Literal["warn", "skip", "stop"] = "warn",
        threshold: float = 10.0,
        max_skips: int = 5,
    ) -> None:
        super().__init__(action, threshold, max_skips)
        self.detector = KneeDetector(
            dict(metrics or NO_REFERENCE),
            min_step=min_step,
            confidence=confidence,
            wait=wait,
            max_candidates=max_candidates,
        )
        self.loss, self.stop = loss, stop
        self.history: list[Validation] = []
        self.verdict: KneeVerdict | None = None
        self.best_model_path = ""
        self._judged: tuple[dict[str, torch.Tensor], dict[str, Any]] | None = None
        self._board = KneeBoard()

    def state_dict(self) -> dict[str, Any]:
        """Return guard, detector and history as plain values."""
        return {
            "guard": super().state_dict(),
            "detector": self.detector.state_dict(),
            "history": [asdict(validation) for validation in self.history],
            "verdict": None if self.verdict is None else asdict(self.verdict),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the same history and verdict."""
        super().load_state_dict(state_dict["guard"])
        self.detector.load_state_dict(state_dict["detector"])
        self.history = [Validation(**record) for record in state_dict["history"]]
        verdict = state_dict["verdict"]
        self.verdict = None if verdict is None else KneeVerdict.from_plain(verdict)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Move before the callbacks that write checkpoints, so that they hold the state after this validation."""
        others = [callback for callback in trainer.callbacks if callback is not self]  # pyright: ignore[reportAttributeAccessIssue]
        first = next(
            (i for i, callback in enumerate(others) if isinstance(callback, Checkpoint)),
            len(others),
        )
        # A new list: Lightning is iterating over the old one.
        trainer.callbacks = [*others[:first], self, *others[first:]]  # pyright: ignore[reportAttributeAccessIssue]
        seed = Path(trainer.default_root_dir) / FOLDER / SEED
        self.best_model_path = str(seed) if seed.is_file() else ""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Publish what a killed run had confirmed, and do not train on behind a knee that was to end training."""
        self._board.open(trainer, list(self.detector.metrics))
        if self.verdict is not None and self.verdict.knee_step is not None:
            self._publish(trainer)
            trainer.should_stop = self.stop

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Copy the weights while those that are judged are in place."""
        if batch_idx == 0 and dataloader_idx == 0 and self._watches(trainer):
            weights, config = pl_module.exported()  # pyright: ignore[reportCallIssue]
            if not trainer.is_global_zero:
                return
            self._judged = (
                {name: weight.detach().to("cpu", copy=True) for name, weight in weights.items()},
                config,
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the validation; keep, publish and stop as the verdict says."""
        if not self._watches(trainer):
            return
        validation = self._fresh(trainer)
        self.verdict = self.detector.update(validation.step, validation.values, validation.loss)
        self.history.append(validation)
        if not self.verdict.diverged:
            on_rank_zero(trainer.strategy, lambda: self._keep_candidates(trainer))
            self._judged = None
        if self.verdict.confirmed_at_step == validation.step:
            self._publish(trainer)
            trainer.should_stop = trainer.should_stop or self.stop
        # Last: from here on a thread that draws takes its turns with this one.
        self._board.show(trainer, self.history, self.verdict, self.detector.metrics)
        if self.verdict.diverged:
            self._abort(trainer, pl_module, f"validation: {self.verdict.reason}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finish the last figure."""
        self._board.close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Finish the last figure."""
        self._board.close()

    def _watches(self, trainer: L.Trainer) -> bool:
        repeated = bool(self.history) and self.history[-1].step == trainer.global_step
        skipped = trainer.sanity_checking or trainer.fast_dev_run or repeated  # pyright: ignore[reportAttributeAccessIssue]
        return trainer.state.fn == "fit" and not skipped

    def _fresh(self, trainer: L.Trainer) -> Validation:
        """Return this validation's values, those of rank 0 on every rank."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        logged = trainer.strategy.broadcast(logged, src=0)
        missing = [name for name in self.detector.metrics if name not in logged]
        if missing and not self.history:
            raise ValueError(
                f"the knee watches {', '.join(missing)}, which is not logged; logged are {', '.join(sorted(logged))}"
            )
        values = {name: logged[name] for name in self.detector.metrics if name in logged}
        return Validation(trainer.global_step, values, logged.get(self.loss))

    def _keep_candidates(self, trainer: L.Trainer) -> None:
        assert self.verdict is not None and self._judged is not None
        weights, config = self._judged
        keep_candidates(
            Path(trainer.default_root_dir),
            self.verdict.candidates,
            self.history[-1].step,
            lambda path: save_denoiser(path, weights, config),
        )

    def _publish(self, trainer: L.Trainer) -> None:
        run, verdict = Path(trainer.default_root_dir), self.verdict
        assert verdict is not None
        on_rank_zero(
            trainer.strategy,
            lambda: publish_verdict(run, verdict, self.history, self.detector, _versions()),
        )
        rank_zero_info(
            f"knee at step {verdict.knee_step}, confirmed at step {verdict.confirmed_at_step}: "
            f"{run / FOLDER}" + ("; training ends here" if self.stop else "")
        )
        self.best_model_path = str(run / FOLDER / SEED)


def _versions() -> dict[str, str]:
    from lsr import __version__

    return {"lsr": __version__, "torch": str(torch.__version__), "lightning": L.__version__}
