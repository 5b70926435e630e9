"""Processes that are killed between two operations on files, at the same place on any machine."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def kill_before(number: int, suffix: str) -> None:
    """Kill this process when it is about to rename a file to its `number`-th path with a suffix.

    `lsr.files.atomic_path` renames every file that it has written.
    """
    own = os.getpid()
    left = number

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event == "os.rename" and os.getpid() == own and str(arguments[1]).endswith(suffix):
            left -= 1
            if not left:
                os.kill(own, signal.SIGKILL)

    sys.addaudithook(watch)


def killed_before(number: int, suffix: str, work: Callable[[], object]) -> None:
    """Do work in a forked process until that is killed, see `kill_before`."""
    process = os.fork()
    if not process:
        try:
            kill_before(number, suffix)
            work()
        finally:
            os._exit(1)
    status = os.waitpid(process, 0)[1]
    assert os.WIFSIGNALED(status), f"the work ended without {number} files {suffix}"


def process_1_killed_before(
    number: int, suffix: str, work: Callable[[Any, Any], int], argument: Any, processes: Any
) -> int:
    """Do the work of one of several processes; process 1 is killed, see `kill_before`."""
    if processes.rank == 1:
        kill_before(number, suffix)
    return work(argument, processes)
