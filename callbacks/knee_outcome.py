"""The line about its knee that a run prints at the end."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from lsr.knee import KneeVerdict
from lsr.knee.words import describe_verdict


def print_knee(verdict: KneeVerdict, published: Path, stops: bool) -> None:
    """Print the step and the folder of a published knee.

    Args:
        verdict: The verdict that confirmed it.
        published: Its folder.
        stops: Whether the run ends here.
    """
    end = "; training ends here" if stops else ""
    rank_zero_info(
        f"knee at step {verdict.knee_step:,}, confirmed at step "
        f"{verdict.confirmed_at_step:,}: {published}{end}"
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
    if verdict is None:
        lines = [f"no knee by step {trainer.global_step:,}", "there was no validation"]
    else:
        lines = describe_verdict(verdict)
    advice = f", or see lsr knee {root}" if trainer.loggers else ""
    rank_zero_info(f"{lines[0]}: {lines[1]}; train longer{advice}")
