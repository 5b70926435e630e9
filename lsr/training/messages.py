"""Messages of training: errors in one line, and no warnings that are not for the user."""

import logging
import re
import warnings
from collections.abc import Sequence

from jsonargparse import ArgumentError

_MOVED = {
    "lsr.metrics_csv.MetricsCSVLogger:": "it is lsr.runs.csv_logger.MetricsCSVLogger now",
    "callbacks.KneePointCallback: Option 'action'": "it belongs to callbacks.DivergenceGuard",
    "callbacks.KneePointCallback: Option 'threshold'": "it belongs to callbacks.DivergenceGuard",
    "callbacks.KneePointCallback: Option 'max_skips'": "it belongs to callbacks.DivergenceGuard",
}
"""Hints for YAML files of older versions, by the start of the error message."""


def quieten() -> None:
    """Hide messages that are advertisements, concern Lightning's own code, or are wrong here."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage()
    )
    for message in (
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*your dataloader is not resumable.*",  # the DataModule resumes its stream itself
        ".*does not have many workers.*",
        ".*the same hyperparameters.*",
        ".*exists and is not empty.*",  # the folder of a run that is resumed
        ".*use `self.log\\('step', ..., sync_dist=True\\)`.*",  # the step is the same on all ranks
        # Of depth-wise convolutions under DDP, at the cost of one copy.
        "Grad strides do not match bucket view strides.*",
        "LightningCLI's args parameter is intended to run from within Python.*",
    ):
        warnings.filterwarnings("ignore", message)


def one_line(error: ArgumentError, arguments: Sequence[str]) -> ValueError:
    """Return an error of one line for what jsonargparse reports about each type that it tried."""
    # Of these reports, the one that names a class path is about the user's mistake.
    problem = re.search(
        r"Problem with given class_path '([^']+)': (.+?)(?: - |$)", " ".join(str(error).split())
    )
    if problem:
        line = f"{problem[1]}: {problem[2]}"
        hints = [f"; {hint}" for start, hint in _MOVED.items() if line.startswith(start)]
        return ValueError("".join([line, *hints]))
    if any(argument.startswith("--config") for argument in arguments):
        return ValueError(str(error))
    return ValueError(f"{error}; name an experiment with --config FILE")
