"""The line about its knee that a run prints at the end."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from lsr.knee import KneeVerdict


def print_knee(verdict: KneeVerdict, published: Path, stops: bool) -> None:
    """Print the step and the folder of a published knee.

    Args:
        verdict: The verdict that confirmed it.
        published: Its folder.
        stops: Whether the run ends here.
    """
    end = "; training ends here" if stops else ""
    rank_zero_info(
        f"knee at step {verdict.knee_step}, confirmed at step {verdict.confirmed_at_step}: "
        f"{published}{end}"
    )


def print_no_knee(trainer: L.Trainer, verdict: KneeVerdict | None, root: Path) -> None:
    """Print why a run has ended without a knee, and what can be done.

    Args:
        trainer: The trainer; with a logger, `lsr knee` can show its curves.
        verdict: The verdict on the last validation, None if there was no validation.
        root: The run folder.
    """
    run: Any = trainer  # Lightning does not declare the attribute `fast_dev_run`
    if run.fast_dev_run:
        return
    reason = "there was no validation" if verdict is None else verdict.reason
    if verdict is not None and verdict.creeping:
        reason += f"; {verdict.creeping}"
    advice = f", or see lsr knee {root}" if trainer.loggers else ""
    rank_zero_info(f"no knee by step {trainer.global_step}: {reason}; train longer{advice}")
