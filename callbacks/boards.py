"""Pictures and texts go to every logger of a run that can take them.

Lightning has one interface for numbers, `log_metrics`, but none for pictures and texts.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import lightning as L
import numpy as np

log = logging.getLogger(__name__)


class Board(Protocol):
    """A logger that takes pictures and texts."""

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Show a picture (H, W, 3) uint8."""
        ...

    def text(self, name: str, words: str, step: int) -> None:
        """Show a text."""
        ...


class TensorBoard:
    """TensorBoard's logger, or another one whose `experiment` is a SummaryWriter."""

    def __init__(self, logger: Any) -> None:
        self.writer = logger.experiment

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Add the picture to the slider of this name."""
        self.writer.add_image(name, pixels, step, dataformats="HWC")

    def text(self, name: str, words: str, step: int) -> None:
        """Add the text to the list of this name."""
        self.writer.add_text(name, words, step)

    def chart(self, layout: dict[str, Any]) -> None:
        """Set which curves share a chart."""
        self.writer.add_custom_scalars(layout)


class WeightsAndBiases:
    """The logger of W&B, or another one with its `log_image` and `log_text`."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log the picture as media."""
        self.logger.log_image(key=name, images=[pixels], step=step)

    def text(self, name: str, words: str, step: int) -> None:
        """Log the text as a table of one row."""
        self.logger.log_text(key=name, columns=["step", "text"], data=[[step, words]], step=step)


class MLflow:
    """The logger of MLflow, whose `experiment` is a client that needs the run's identity."""

    def __init__(self, logger: Any) -> None:
        self.client = logger.experiment
        self.run = logger.run_id

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log the picture as an image with a step."""
        self.client.log_image(self.run, pixels, key=name, step=step)

    def text(self, name: str, words: str, step: int) -> None:
        """Write the text to an artifact, in place of the text of an earlier step."""
        self.client.log_text(self.run, f"step {step}: {words}\n", f"{name}.txt")


def boards(trainer: L.Trainer) -> list[Board]:
    """Return the loggers that take pictures and texts; no logger on ranks other than 0.

    A logger is known by what it offers, so none of their packages need be installed.
    """
    if not trainer.is_global_zero:
        return []
    return [board for logger in trainer.loggers if (board := _board(logger)) is not None]


def _board(logger: Any) -> Board | None:
    if hasattr(logger, "log_image") and hasattr(logger, "log_text"):
        return WeightsAndBiases(logger)
    experiment = getattr(logger, "experiment", None)
    if hasattr(experiment, "add_image") and hasattr(experiment, "add_text"):
        return TensorBoard(logger)
    if hasattr(experiment, "log_image") and hasattr(logger, "run_id"):
        return MLflow(logger)
    return None


def show_picture(where: Sequence[Board], name: str, pixels: np.ndarray, step: int) -> None:
    """Show a picture on every board.

    A board that fails, because its server cannot be reached for example, is a warning: pictures are
    not worth the end of a run.

    Args:
        where: The boards.
        name: Name of the picture, such as `val/lr_bicubic_sr_hr`; slashes group names.
        pixels: (H, W, 3) uint8.
        step: Optimiser step.
    """
    _show(where, name, lambda board: board.picture(name, pixels, step))


def show_text(where: Sequence[Board], name: str, words: str, step: int) -> None:
    """Show a text on every board; one that fails is a warning, as in `show_picture`."""
    _show(where, name, lambda board: board.text(name, words, step))


def _show(where: Sequence[Board], name: str, show: Callable[[Board], None]) -> None:
    for board in where:
        try:
            show(board)
        except Exception as error:  # libraries and servers raise exceptions of all types
            log.warning(
                "%s could not show %s (%s); training continues without it",
                type(board).__name__,
                name,
                error,
            )


def pixels_of(figure: Any) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 of a figure on an Agg canvas."""
    figure.canvas.draw()
    return np.ascontiguousarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
