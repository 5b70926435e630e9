"""Standard output of all verbs: one line where it cannot be written, silence if its reader ended.

The exceptions of streams do not name them, so `sys.stdout` is replaced while a verb runs.
"""

import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from lsr.errors import BAD_USAGE, SOME_FAILED


class OutputError(Exception):
    """Standard output cannot be written. An OSError, in contrast, is about a file of the verb."""


class ClosedOutput(io.StringIO):
    """Standard output that the caller has closed, as `>&-` does; Python has None in its place."""

    def write(self, text: str, /) -> int:
        """Raise `OutputError`."""
        raise OutputError("standard output is closed")


class _StandardOutput:
    """A stream, text or bytes, that raises `OutputError` where another raises OSError.

    Args:
        stream: The stream that is written to.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        if name == "buffer":
            return _StandardOutput(found)
        return _naming_it(found) if name in ("write", "writelines", "flush") else found


def _naming_it(write: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does the same, and raises `OutputError` in place of OSError."""

    def attempt(*arguments: Any) -> Any:
        try:
            return write(*arguments)
        except OSError as error:
            raise OutputError(f"standard output: {error.strerror}") from error

    return attempt


def with_standard_output(name: str, work: Callable[[], int]) -> int:
    """Do the work of a command and write all of its output.

    An exception of the work itself is raised even if the output cannot be written.

    Args:
        name: The command, for the message that output cannot be written.
        work: Function that returns an exit code. `sys.exit` in it writes the output too.

    Returns:
        The exit code.
    """
    stream = ClosedOutput() if sys.stdout is None else _StandardOutput(sys.stdout)
    try:
        with redirect_stdout(stream):  # pyright: ignore[reportArgumentType]
            try:
                code = work()
            except OutputError:
                raise
            except BaseException as failure:
                _write_the_rest(stream, failure)
                raise
            stream.flush()
            return code
    except OutputError as error:
        _discard_the_rest(stream)
        if isinstance(error.__cause__, BrokenPipeError):
            return SOME_FAILED  # what reads our output, for example `head`, has ended
        sys.stderr.write(f"{name}: {error}\n")
        return BAD_USAGE


def _write_the_rest(stream: Any, failure: BaseException) -> None:
    """Write the output of work that has raised an exception.

    Raises:
        OutputError: If that fails, and the exception is a `sys.exit` without a failure.
    """
    try:
        stream.flush()
    except OutputError:
        if isinstance(failure, SystemExit) and not failure.code:
            raise
        _discard_the_rest(stream)


def _discard_the_rest(stream: Any) -> None:
    """Discard unwritten output, which Python would write when it ends, and fail once more."""
    if not isinstance(stream, ClosedOutput):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
