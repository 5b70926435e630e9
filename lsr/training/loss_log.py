"""Log the training loss as its mean over the ranks, although each rank computes its own."""

from typing import TYPE_CHECKING

from torch import Tensor

from lsr.distributed.ranks import mean_over_ranks
from lsr.distributed.tensors import several_processes
from lsr.training.gradients import is_logging_step

if TYPE_CHECKING:
    from lsr.training.module import LinearSRModule


class LossLog:
    """Logs `train/loss`, and remembers it for the curve of the expert that the step trains.

    The ranks exchange their losses only where the mean is written: at the steps that the loggers
    write, and at validations, where the detector of the knee reads it. In between, the progress bar
    shows the loss of rank 0.
    """

    def __init__(self) -> None:
        self._newest: Tensor | None = None

    def in_training(self, module: "LinearSRModule", loss: Tensor, batch_size: int) -> None:
        """Log the loss of a training step. Every rank has to call this at the same step.

        Args:
            module: The module that is trained.
            loss: Mean loss of this rank's batch, a scalar.
            batch_size: Number of samples in the batch.
        """
        self._newest = loss.detach()
        value = self._newest
        if several_processes() and is_logging_step(module):
            value = mean_over_ranks(value)
        module.log("train/loss", value, prog_bar=True, batch_size=batch_size)
        if module.expert_run is not None:
            module.expert_run.keep("loss", module.global_step, loss)

    def in_validation(self, module: "LinearSRModule") -> None:
        """Let callbacks see the mean of the newest loss; loggers do not get it again."""
        if self._newest is not None:
            module.log(
                "train/loss",
                self._newest,
                prog_bar=True,
                logger=False,
                batch_size=1,
                sync_dist=True,
            )
