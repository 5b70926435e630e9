"""Start several processes of one command on this machine, as `torchrun` does."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, TypeVar

from lsr.console.standard_output import with_standard_output
from lsr.errors import BAD_USAGE, INTERRUPTED, SOME_FAILED, one_line

if TYPE_CHECKING:
    from lsr.distributed.processes import Processes

T = TypeVar("T")

_SECONDS_TO_END = 10
"""Time that a process has to remove its unfinished files."""


def in_one_or_several(
    verb: str, work: Callable[[T, "Processes"], int], argument: T, devices: int
) -> int:
    """Do the work of a command in this process, or in those of `--devices`; return the exit code.

    The processes know their numbers from the environment variables of `torchrun`. They end when one
    of them fails, and when this process ends.

    Args:
        verb: The command, for messages.
        work: Function of `argument` and of the processes, which returns an exit code. Function and
            argument can be pickled.
        argument: What the command does, for example its options.
        devices: Number of processes.

    Raises:
        ValueError: If `devices` is below 1, or is above 1 and torchrun has started this process.
    """
    if devices < 1:
        raise ValueError(f"--devices must be at least 1, not {devices}")
    if devices == 1:
        return _as_process(verb, work, argument)
    if "WORLD_SIZE" in os.environ:
        raise ValueError("torchrun has started this process already: leave out --devices")
    try:
        return _in_processes(verb, work, argument, devices)
    except ChildProcessError as error:
        sys.stderr.write(f"lsr {verb}: {error}\n")
        return SOME_FAILED


def _as_process(
    verb: str,
    work: Callable[[T, "Processes"], int],
    argument: T,
    listener: socket.socket | None = None,
) -> int:
    """Do the work of this process, one of several or the only one, and return its exit code.

    Of several processes only the first reports what fails in all of them.

    Args:
        verb: The command, for messages.
        work: See `in_one_or_several`.
        argument: See `in_one_or_several`.
        listener: See `lsr.distributed.processes.launched`.
    """
    import torch

    from lsr.distributed.processes import LostProcess, launched

    with launched(torch.cuda.is_available(), listener) as processes:
        try:
            return work(argument, processes)
        except LostProcess as error:
            if processes.leads and multiprocessing.parent_process() is None:
                sys.stderr.write(f"lsr {verb}: {error}\n")  # else the parent reports how it ended
            return SOME_FAILED
        except (ValueError, FileNotFoundError) as error:
            if processes.size == 1:
                raise
            if processes.leads:
                sys.stderr.write(f"lsr {verb}: {one_line(error)}\n")
            return BAD_USAGE


def _in_processes(verb: str, work: Callable[[T, "Processes"], int], argument: T, count: int) -> int:
    """Start the processes, and wait for them; ChildProcessError if one was killed."""
    # Each process would otherwise start a thread for every core.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // count)))
    spawn = multiprocessing.get_context("spawn")
    # It listens before the processes start, so that no other program can take its port meanwhile.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        processes = [
            spawn.Process(
                target=_run, args=(verb, work, argument, rank, count, listener), daemon=True
            )
            for rank in range(count)
        ]
        try:
            for process in processes:
                process.start()
            return _wait(processes)
        finally:
            _end(processes)


def _wait(processes: Sequence[SpawnProcess]) -> int:
    """Wait until all processes have ended well, or until one has failed; return the exit code."""
    running = {process.sentinel: rank for rank, process in enumerate(processes)}
    while running:
        ended = multiprocessing.connection.wait(list(running))
        ranks = sorted(rank for sentinel, rank in running.items() if sentinel in ended)
        running = {sentinel: rank for sentinel, rank in running.items() if rank not in ranks}
        for rank in ranks:
            processes[rank].join()  # its end is seen a moment before its exit code
        codes = {rank: processes[rank].exitcode or 0 for rank in ranks}
        # A process that was killed comes first: the others fail because it is gone.
        rank, code = min(codes.items(), key=lambda item: (item[1] >= 0, item[0]))
        if code < 0:
            name = signal.Signals(-code).name
            raise ChildProcessError(
                f"process {rank} of {len(processes)} was ended by {name}; run the same command "
                "again to continue"
            )
        failed = next((code for code in codes.values() if code), 0)
        if failed:
            return failed
    return 0


def _end(processes: Sequence[SpawnProcess]) -> None:
    """End the processes that are still running; they remove their unfinished files."""
    running = [process for process in processes if process.is_alive()]
    for process in running:
        process.terminate()
    for process in running:
        process.join(_SECONDS_TO_END)
        process.kill()  # does nothing to a process that has ended


def _run(
    verb: str,
    work: Callable[[T, "Processes"], int],
    argument: T,
    rank: int,
    count: int,
    listener: socket.socket,
) -> None:
    """Do the work in a new process, and leave the process with its exit code.

    Args:
        verb: The command, for messages.
        work: See `in_one_or_several`.
        argument: See `in_one_or_several`.
        rank: Number of this process, from 0.
        count: Number of processes.
        listener: Listening socket at which the processes meet; process 0 answers there.
    """
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    # Ctrl-C reaches all processes, but the one that started the others answers it for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(INTERRUPTED))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    process = partial(_as_process, verb, work, argument, listener)
    code = with_standard_output(f"lsr {verb}", process)
    sys.stderr.flush()
    # The work is done. While Python ends, a thread of a library in C++ may abort the process.
    os._exit(code)


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(INTERRUPTED)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
