"""Ctrl-C and SIGTERM during training: after SIGTERM all ranks end after the same step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lightning.pytorch.utilities.exceptions import SIGTERMException

from lsr.errors import interrupt


@contextmanager
def left_to_lightning() -> Iterator[None]:
    """Let Lightning alone answer SIGTERM while it trains, if this process is the program `lsr`.

    Lightning's handler also calls the handler that was installed before it. The handler of `lsr`
    would raise KeyboardInterrupt in the middle of a step. So it is replaced by one that raises
    KeyboardInterrupt only while Lightning has not installed its own handler.

    Raises:
        KeyboardInterrupt: At the end, if SIGTERM came after the last step: Lightning looks for it
            between steps only.
    """
    if signal.getsignal(signal.SIGTERM) != interrupt:
        yield
        return
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if signal.getsignal(signal.SIGTERM) == remember:
            interrupt(number, frame)

    signal.signal(signal.SIGTERM, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, interrupt)
    if received:
        interrupt(received[0], None)


@contextmanager
def interruptions_raised() -> Iterator[None]:
    """Raise KeyboardInterrupt where Lightning ends the process after Ctrl-C or SIGTERM."""
    try:
        yield
    except SystemExit as end:
        # Lightning exits with 1 after Ctrl-C, and with 0 after SIGTERM, as --help does.
        if end.code != 1 and not isinstance(end, SIGTERMException):
            raise
        raise KeyboardInterrupt from end
