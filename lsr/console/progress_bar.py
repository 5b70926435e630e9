"""The progress of long work on stderr: a bar on a terminal, elsewhere a line a minute."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_EVERY_S = 60.0
"""Seconds between two lines where stderr is no terminal."""

_RATE_WINDOW_S = 600.0
"""Seconds over which the rate is averaged: long, so that slow pieces have a rate too."""


class ProgressBar:
    """A progress bar on stderr; `progress_bar` creates it.

    Args:
        progress: Display of rich, with one task.
        unit: Name of the pieces in the plural.
    """

    def __init__(self, progress: Progress, unit: str) -> None:
        self._progress = progress
        self._unit = unit
        self._began = time.monotonic()

    def advance(self, pieces: float) -> None:
        """Count `pieces` more as done; a fraction of a piece moves the bar by that fraction."""
        self._progress.advance(self._progress.task_ids[0], pieces)

    def expect(self, total: float) -> None:
        """Replace the number of pieces in all, which was an estimate."""
        self._progress.update(self._progress.task_ids[0], total=total)

    def describe(self, description: str) -> None:
        """Replace the text in front of the bar."""
        self._progress.update(self._progress.task_ids[0], description=description)

    def say(self, line: str) -> None:
        """Print a line on stderr above the bar, unwrapped and without markup.

        The line is printed where no bar is shown too.
        """
        self._progress.console.print(
            line, markup=False, highlight=False, emoji=False, soft_wrap=True
        )

    def state(self) -> str:
        """Return description, count and remaining time in one line."""
        task = self._progress.tasks[0]
        total = task.total or 0.0
        line = f"{task.description}: {_count(task.completed, total)} {self._unit}"
        if not task.completed:
            return line
        left = (time.monotonic() - self._began) * (total / task.completed - 1)
        return f"{line}, {time_left(left)}"


@contextmanager
def progress_bar(
    description: str, total: float, unit: str, shown: bool = True
) -> Iterator[ProgressBar]:
    """Show a bar on stderr while the block runs, and remove it at the end.

    The bar shows the description, the count, the rate and the remaining time. Where stderr is not a
    terminal there is a line with the same a minute, and the lines of `ProgressBar.say`.

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
        _Count(),
        _Rate(unit),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
        speed_estimate_period=_RATE_WINDOW_S,
    ) as progress:
        progress.add_task(description, total=total)
        bar = ProgressBar(progress, unit)
        in_lines = shown and not console.is_terminal
        with line_a_minute(lambda: bar.say(bar.state())) if in_lines else nullcontext():
            yield bar


@contextmanager
def line_a_minute(say: Callable[[], None]) -> Iterator[None]:
    """Call a function every minute while the block runs, in a thread of its own.

    Args:
        say: Function that prints where the work stands.
    """
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(LINE_EVERY_S):
            say()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def time_left(seconds: float) -> str:
    """Return the remaining time in words; it is negative where more is done than was expected."""
    return "less than a minute left" if seconds < 60 else f"about {seconds / 60:.0f} min left"


def _count(done: float, total: float) -> str:
    """Return how many pieces of how many are done.

    These are whole numbers if the total is one or is large, else they have three digits.
    """
    if total == int(total) or total >= 1000:
        return f"{int(done)}/{int(total)}"
    return f"{done:.3g}/{total:.3g}"


class _Count(ProgressColumn):
    """Column that shows the pieces that are done, and all."""

    def render(self, task: Task) -> Text:
        return Text(_count(task.completed, task.total or 0.0))


class _Rate(ProgressColumn):
    """Column that shows the pieces per second with three significant digits."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed or 0.0
        digits = f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"
        return Text(f"{digits} {self._unit}/s")
