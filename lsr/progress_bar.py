"""A progress bar on stderr for work that is counted in pieces."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(
    description: str, total: int, unit: str, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """Show description, bar, count, rate and the time that is left, if `shown` and stderr is a terminal; give what advances it."""
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[rate]:.1f}} {unit}/s"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not (shown and console.is_terminal)
    ) as progress:
        task = progress.add_task(description, total=total, rate=0.0)

        def advance(pieces: int) -> None:
            progress.advance(task, pieces)
            progress.update(task, rate=progress.tasks[0].speed or 0.0)

        yield advance
