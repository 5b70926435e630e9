"""Warnings of training that are not for the user are hidden."""

import logging
import warnings


def quieten() -> None:
    """Hide messages that are advertisements, concern Lightning's own code, or are wrong here."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage()
    )
    for message in (
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*your dataloader is not resumable.*",  # the DataModule resumes its stream itself
        ".*does not have many workers.*",
        # The module keeps the seeds on the host; our DataModules do not use this hook.
        ".*You have overridden `on_before_batch_transfer` in `LightningModule`.*",
        ".*the same hyperparameters.*",
        ".*exists and is not empty.*",  # the folder of a run that is resumed
        ".*use `self.log\\('step', ..., sync_dist=True\\)`.*",  # the step is the same on all ranks
        # Of depth-wise convolutions under DDP, at the cost of one copy.
        "Grad strides do not match bucket view strides.*",
        "LightningCLI's args parameter is intended to run from within Python.*",
    ):
        warnings.filterwarnings("ignore", message)
