"""SIGTERM during training: Lightning ends all ranks after the same step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lsr.errors import interrupt


@contextmanager
def left_to_lightning() -> Iterator[None]:
    """Let Lightning alone answer SIGTERM while it trains, if this process is the program `lsr`.

    Lightning's handler calls the one that it found. The program's raises KeyboardInterrupt at once,
    so another takes its place, which does so only until Lightning has installed its own.
    """
    if signal.getsignal(signal.SIGTERM) != interrupt:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt_before_training)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, interrupt)


def _interrupt_before_training(number: int, frame: FrameType | None) -> None:
    if signal.getsignal(signal.SIGTERM) == _interrupt_before_training:
        interrupt(number, frame)
