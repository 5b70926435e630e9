"""PublishedKnee: makes the published knee the best checkpoint of a trainer."""

from typing import Any, Protocol

import lightning as L
from lightning.pytorch.callbacks import Checkpoint


class HasBestPath(Protocol):
    """A callback that knows the path of the best checkpoint."""

    best_model_path: str


class PublishedKnee(Checkpoint):
    """Makes the published knee the best checkpoint of a trainer (`ckpt_path="best"`).

    Args:
        knee: The callback that publishes it.
    """

    def __init__(self, knee: HasBestPath) -> None:
        self._knee = knee

    @property
    def best_model_path(self) -> str:
        """The published seed, "" if there is none."""
        return self._knee.best_model_path


def put_best_first(trainer: L.Trainer, knee: HasBestPath) -> None:
    """Put a `PublishedKnee` before all other checkpoint callbacks, unless there is one."""
    run: Any = trainer  # Lightning does not declare the attribute `callbacks`
    if any(isinstance(callback, PublishedKnee) for callback in run.callbacks):
        return
    others = [each for each in run.callbacks if not isinstance(each, Checkpoint)]
    savers = [each for each in run.callbacks if isinstance(each, Checkpoint)]
    # A new list, because Lightning is iterating over the old one.
    run.callbacks = [*others, PublishedKnee(knee), *savers]
