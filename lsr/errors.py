"""Exit codes of all verbs, SIGTERM as an exception, and messages of exceptions in one line."""

import re
import signal
from pathlib import Path
from types import FrameType

DONE = 0
"""Everything is done."""
SOME_FAILED = 1
"""Some inputs failed; each was reported, and all others are done."""
BAD_USAGE = 2
"""Wrong usage or unusable input; an error message of one line was printed."""
DIVERGED = 3
"""Training diverged; `divergence.json` in the run folder has the details.

`lsr.training.cli` returns this code after a `DivergenceError` of `lsr.training.divergence`.
"""
INTERRUPTED = 130
"""Interrupted by Ctrl-C or SIGTERM; for Ctrl-C shells use this code too (128 + its signal)."""

_LONGEST = 80
"""Most characters of a reason: what follows in the texts of other libraries is advice."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt: the handler of SIGTERM of the program `lsr`.

    Args:
        number: The signal.
        frame: The frame that the signal has interrupted.
    """
    # `timeout` sends it twice: the second one must not stop the removal of unfinished files.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def one_line(error: BaseException) -> str:
    """Return the whole message of an exception in one line."""
    return " ".join(str(error).split())


def first_clause(error: BaseException, folder: Path | None = None) -> str:
    """Return the first sentence of an exception's message, cut to 80 characters.

    Args:
        error: Exception of another library, whose message may have several lines.
        folder: Folder that our message names already; if it is absolute, only its last part is
            repeated.

    Returns:
        One line without the full stop; the name of the class if there is no message.
    """
    text = str(error).strip()
    if folder is not None and folder.is_absolute():
        text = text.replace(str(folder), folder.name)
    clause = re.split(r"[.;!?]\s|\n", text, maxsplit=1)[0]
    clause = " ".join(clause.split()).rstrip(".")
    if not clause:
        return type(error).__name__
    if len(clause) <= _LONGEST:
        return clause
    return clause[: _LONGEST - 3].rstrip() + "..."
