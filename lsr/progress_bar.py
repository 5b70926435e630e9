"""A progress bar on stderr for work that is counted in pieces."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_RATE_WINDOW_S = 600.0
"""Seconds over which the rate is averaged: long, so that slow pieces have a rate too."""


class ProgressBar:
    """A progress bar on stderr; `progress_bar` creates it.

    Args:
        progress: Display of rich, with one task.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def advance(self, pieces: float) -> None:
        """Count `pieces` more as done; a fraction of a piece moves the bar by that fraction."""
        self._progress.advance(self._progress.task_ids[0], pieces)

    def say(self, line: str) -> None:
        """Print a line on stderr above the bar, unwrapped and without markup.

        The line is printed where no bar is shown too.
        """
        self._progress.console.print(
            line, markup=False, highlight=False, emoji=False, soft_wrap=True
        )


@contextmanager
def progress_bar(
    description: str, total: float, unit: str, shown: bool = True
) -> Iterator[ProgressBar]:
    """Show a bar on stderr while the block runs, and remove it at the end.

    The bar shows the description, the count, the rate and the remaining time. Where stderr is not a
    terminal there is no bar, only the lines of `ProgressBar.say`.

    Args:
        description: Text in front of the bar.
        total: Number of pieces in all.
        unit: Name of the pieces in the plural, for the rate.
        shown: False shows no bar: of several processes only one should have it.
    """
    console = Console(file=sys.stderr)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
        speed_estimate_period=_RATE_WINDOW_S,
    ) as progress:
        progress.add_task(description, total=total)
        yield ProgressBar(progress)


class _Rate(ProgressColumn):
    """Column that shows the pieces per second with three significant digits."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed or 0.0
        digits = f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"
        return Text(f"{digits} {self._unit}/s")
