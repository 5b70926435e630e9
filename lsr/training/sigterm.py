"""SIGTERM during training: Lightning ends all ranks after the same step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lsr.errors import interrupt


@contextmanager
def left_to_lightning() -> Iterator[None]:
    """Let Lightning alone answer SIGTERM while it trains, if this process is the program `lsr`.

    Lightning's handler also calls the handler that was installed before it. The handler of `lsr`
    would raise KeyboardInterrupt in the middle of a step. So it is replaced by one that raises
    KeyboardInterrupt only before Lightning has installed its own handler.
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
