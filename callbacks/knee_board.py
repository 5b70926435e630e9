"""KneeBoard: shows the knee detector in the loggers, as curves, figure and verdict in words."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import lightning as L

from callbacks.boards import Board, TensorBoard, boards, pixels_of, show_picture, show_text
from lsr.knee import KneeVerdict
from lsr.knee.plot import draw_knee
from lsr.knee.words import describe_verdict
from lsr.runs.history import Validation


class KneeBoard:
    """Shows what a knee detector finds at each validation.

    Scalars (smoothed curves, consensus, candidate) go to every logger, the figure and the text to
    those of `callbacks.boards`, the layout of the charts to TensorBoard. The figure is drawn in a
    thread, so that training does not wait for it. If validations come faster than figures, only the
    newest one is drawn.
    """

    def __init__(self) -> None:
        self._painter: ThreadPoolExecutor | None = None
        self._painting: Future[None] | None = None
        self._next: tuple[Any, ...] | None = None
        self._is_saved = True

    def open(self, trainer: L.Trainer, metrics: Sequence[str]) -> None:
        """Tell TensorBoard which curves share a chart.

        Args:
            trainer: The trainer, whose loggers are used.
            metrics: Names of the watched metrics.
        """
        layout = {
            # Not part of "knee", because other runs in the same TensorBoard log these metrics too.
            # A chart for each metric: in a shared chart one of a large range flattens others.
            "validation": {
                _short(name): _lines(name, f"knee/{_short(name)}/smoothed") for name in metrics
            },
            "knee": {
                "consensus": _lines("knee/consensus"),
                "probability of the candidate": _lines("knee/probability"),
                "candidate and knee": _lines("knee/candidate_step", "knee/knee_step"),
            },
        }
        for board in boards(trainer):
            if isinstance(board, TensorBoard):
                board.chart(layout)

    def show(
        self,
        trainer: L.Trainer,
        history: Sequence[Validation],
        verdict: KneeVerdict,
        directions: Mapping[str, str],
    ) -> None:
        """Show one validation, on rank 0.

        Args:
            trainer: The trainer, whose loggers are used.
            history: The validations so far; the last one is shown.
            verdict: The detector's verdict on it.
            directions: Direction "max" or "min" of each metric.
        """
        if not trainer.is_global_zero:
            return
        scalars: dict[str, float | None] = {
            f"knee/{_short(name)}/smoothed": record["smoothed"]
            for name, record in verdict.per_metric.items()
        }
        scalars |= {
            "knee/consensus": verdict.consensus,
            "knee/probability": verdict.confidence,
            "knee/candidate_step": verdict.candidate_step,
            # Missing until the confirmation and constant from then on: smoothing cannot spoil it.
            "knee/knee_step": verdict.knee_step,
        }
        known = {name: float(value) for name, value in scalars.items() if value is not None}
        for logger in trainer.loggers:
            logger.log_metrics(known, step=history[-1].step)
        self._is_saved = False
        where = boards(trainer)
        # Two spaces at the end of a line break it in Markdown, which TensorBoard shows.
        first, *others = describe_verdict(verdict)
        words = "  \n".join([f"**{first}**", *others])
        show_text(where, "knee/verdict", words, history[-1].step)
        if where:
            self._paint((where, tuple(history), verdict, dict(directions)))

    def save(self, trainer: L.Trainer) -> None:
        """Let the loggers write their files, unless they have the latest scalars.

        To be called before a checkpoint is written: a run that is resumed from it does not show the
        earlier validations again.
        """
        if not self._is_saved:
            self._is_saved = True
            for logger in trainer.loggers:
                logger.save()

    def close(self) -> None:
        """Wait until the newest figure is drawn."""
        if self._painter is not None:
            self._painter.shutdown(wait=True)
            if self._next is not None:
                _paint_now(*self._next)
            self._painter = self._painting = self._next = None

    def _paint(self, job: tuple[Any, ...]) -> None:
        """Draw a figure now if the thread is free, else remember it in place of an older one."""
        self._next = job
        if self._painting is None or self._painting.done():
            self._painter = self._painter or ThreadPoolExecutor(max_workers=1)
            self._next = None
            self._painting = self._painter.submit(_paint_now, *job)


def _paint_now(
    where: Sequence[Board],
    history: tuple[Validation, ...],
    verdict: KneeVerdict,
    directions: dict[str, str],
) -> None:
    figure = draw_knee(history, verdict, directions)
    show_picture(where, "knee/figure", pixels_of(figure), history[-1].step)


def _lines(*names: str) -> list[Any]:
    """Return a chart of these scalars. TensorBoard takes names as beginnings, as in `re.match`."""
    return ["Multiline", [f"{re.escape(name)}$" for name in names]]


def _short(name: str) -> str:
    return name.removeprefix("val/")
