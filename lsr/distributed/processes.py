"""The processes of a run that `torchrun` or `--devices` started: join, exchange, fail together."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_TCPStore = dist.TCPStore  # pyright: ignore[reportPrivateImportUsage]

_PATIENCE = timedelta(days=7)
"""How long processes wait for the slowest one. One that dies ends the wait at once."""


class LostProcess(RuntimeError):  # noqa: N818
    """A process ended before its work was done; what was finished is kept."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen by one of them.

    The methods that exchange something have to be called by all processes in the same order. With
    one process they return at once.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is process 0, which writes what all of them have computed."""
        return self.rank == 0

    def device(self) -> torch.device:
        """Return the device of this process: a GPU of its own if there are GPUs.

        Raises:
            ValueError: If this machine has more processes than GPUs.
        """
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # Processes are numbered over all machines, GPUs on each machine.
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"there are more processes (--devices) than the {torch.cuda.device_count()} GPUs "
                "of this machine: start fewer"
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def of_all(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their numbers.

        Raises:
            LostProcess: If a process has ended.
        """
        return self._told(value, None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Fail in all processes if the block fails in one of them.

        A process that fails tells the others so at their next exchange, which is at the latest the
        one at the end of the block. So none of them waits for it.

        Raises:
            MemoryError: If memory ran out in another process.
            ValueError: If an input, a setting or a file is the cause of the failure elsewhere.
            LostProcess: If there is another cause, or a process has ended.
        """
        try:
            yield
            self._told(None, None)
        except _FailedElsewhere as elsewhere:
            raise elsewhere.cause from None
        except LostProcess:
            raise
        except Exception as error:
            self._told(None, _without_traceback(error))
            raise

    def _told(self, value: Any, failure: Exception | None) -> list[Any]:
        """Exchange values and failures; raise the first failure of another process."""
        if self.size == 1:
            return [value]
        told: list[Any] = [None] * self.size
        with _losses():
            dist.all_gather_object(told, (value, failure))
        first = next((each for _, each in told if each is not None), None)
        if first is not None and failure is None:
            raise _FailedElsewhere(first)
        return [each for each, _ in told]

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows (n, ...) of all processes joined; process 0 has at least one."""
        shapes = self.of_all(tuple(rows.shape))
        if self.size == 1:
            return rows
        longest = max(shape[0] for shape in shapes)
        padded = rows.new_zeros(longest, *shapes[0][1:])
        padded[: len(rows)] = rows.view(len(rows), *padded.shape[1:])
        parts = [torch.empty_like(padded) for _ in shapes]
        with _losses():
            dist.all_gather(parts, padded)
        return torch.cat([part[: shape[0]] for part, shape in zip(parts, shapes, strict=True)])

    def swap(
        self, before: Tensor | None, after: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Exchange tensors with the neighbours.

        Args:
            before: Tensor for the process before this one, which sends one of the same shape; None
                if it sends nothing either.
            after: The same for the process after this one.

        Returns:
            The tensors of the process before and of the process after.
        """
        self.of_all(None)
        pairs = ((self.rank - 1, before), (self.rank + 1, after))
        sent = {rank: tensor.contiguous() for rank, tensor in pairs if tensor is not None}
        received = {rank: torch.empty_like(tensor) for rank, tensor in sent.items()}
        operations = [dist.P2POp(dist.isend, tensor, rank) for rank, tensor in sent.items()]
        operations += [dist.P2POp(dist.irecv, tensor, rank) for rank, tensor in received.items()]
        if operations:
            with _losses():
                for work in dist.batch_isend_irecv(operations):
                    work.wait()
        return received.get(self.rank - 1), received.get(self.rank + 1)

    def to_leader(self, tensor: Tensor | None, owner: int) -> Tensor | None:
        """Return the tensor of the process `owner` in process 0, None elsewhere.

        Args:
            tensor: The tensor, in memory of the CPU; None in all other processes.
            owner: Number of the process that has it, above 0.
        """
        shape = self.of_all(None if tensor is None else tuple(tensor.shape))[owner]
        with _losses():
            if tensor is not None:
                dist.send(tensor.contiguous(), 0)
            elif self.leads:
                received = torch.empty(shape)
                dist.recv(received, owner)
                return received
        return None


ALONE = Processes()
"""One process, which has no others to wait for."""


class _FailedElsewhere(Exception):  # noqa: N818 (it never leaves this module)
    """Another process has failed.

    Args:
        cause: The exception to raise in this process.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _without_traceback(error: Exception) -> Exception:
    """Return an exception of the same kind that other processes can unpickle."""
    message = str(error) or type(error).__name__
    # PyTorch on a GPU raises OutOfMemoryError, and on a CPU a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in message:
        return MemoryError("out of memory in another process")  # PyTorch's text has several lines
    if isinstance(error, MemoryError):
        return MemoryError(message)
    if isinstance(error, (ValueError, OSError)):
        return ValueError(message)
    return LostProcess(f"a process failed ({type(error).__name__}: {message})")


@contextmanager
def _losses() -> Iterator[None]:
    """Turn the errors of connections whose other end is gone into LostProcess."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcess(
            "another process ended early; run the same command again to continue"
        ) from error


@contextmanager
def launched(on_gpus: bool = False, listener: socket.socket | None = None) -> Iterator[Processes]:
    """Join the processes that were started together, if there are several; leave them at the end.

    Args:
        on_gpus: Whether tensors on GPUs will be exchanged.
        listener: Listening socket of this machine at which the processes meet. Without it they meet
            where the environment variables of `torchrun` say.

    Yields:
        The processes; `ALONE` without `torchrun` and without `--devices`.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    if listener is None:
        dist.init_process_group(backend, timeout=_PATIENCE)
    else:
        rank = int(os.environ["RANK"])
        store = _store(listener, rank, size)
        dist.init_process_group(backend, timeout=_PATIENCE, store=store, rank=rank, world_size=size)
    try:
        yield Processes(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def _store(listener: socket.socket, rank: int, size: int) -> Any:
    """Return the store through which the processes find each other; process 0 serves it."""
    host, port = listener.getsockname()
    serves = rank == 0
    descriptor = listener.detach() if serves else None  # the store closes it
    return _TCPStore(host, port, size, serves, _PATIENCE, master_listen_fd=descriptor)
