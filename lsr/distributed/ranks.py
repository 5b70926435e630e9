"""Let one rank do work for all, compare ranks and average over them; DDP and unused weights."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor

from lsr.distributed.tensors import several_processes

_PATIENCE = timedelta(days=10_000)
"""How long ranks wait for the work of another rank. A rank that dies ends the wait at once."""


def on_rank_zero(strategy: Strategy, work: Callable[[], object]) -> None:
    """Do `work` on rank 0 while the other ranks wait.

    The work may take longer than the timeout of the run's collectives (half an hour, NCCL's ten
    minutes). If it fails, every rank fails: otherwise the others would wait for ever for rank 0.

    Args:
        strategy: Strategy of the trainer.
        work: Function to call on rank 0; it writes a file, for example.

    Raises:
        ValueError: On every rank, with the message of the exception on rank 0.
    """
    _work_and_wait(strategy, work, strategy.is_global_zero)


def on_every_machine(strategy: Strategy, work: Callable[[], object]) -> None:
    """Do `work` on rank 0, then on the first rank of every machine, while the others wait.

    On a disk that all machines share, the second round finds the files of the first one. A machine
    with a disk of its own makes them again. Otherwise like `on_rank_zero`.

    Args:
        strategy: Strategy of the trainer.
        work: Function that writes files unless they exist.

    Raises:
        ValueError: On every rank, with the message of the first exception.
    """
    on_rank_zero(strategy, work)
    first = getattr(strategy, "local_rank", 0) == 0 and not strategy.is_global_zero
    _work_and_wait(strategy, work, first)


def _work_and_wait(strategy: Strategy, work: Callable[[], object], chosen: bool) -> None:
    """Do `work` on the chosen ranks while the others wait, and fail on all ranks if it fails."""
    # Before the work: to form the group is a collective of its own.
    group = _waiting_group()
    cause: Exception | None = None
    if chosen:
        try:
            work()
        except Exception as error:  # any exception: the other ranks must know of it
            cause = error
    failure = cause and (str(cause) or type(cause).__name__)
    failures: list[str | None] = [None] * (group.size() if group is not None else 1)
    if group is None:
        failures[0] = strategy.broadcast(failure, src=0)
    else:
        dist.all_gather_object(failures, failure, group)
    found = next((each for each in failures if each is not None), None)
    if found is not None:
        raise ValueError(found) from cause


_groups: dict[object, dist.ProcessGroup] = {}
"""The group of all ranks that has no timeout, by the default group of this run."""


def _waiting_group() -> dist.ProcessGroup | None:
    """Return a group of all ranks that waits without a timeout; None if there is one process.

    Gloo blocks the waiting threads. NCCL would occupy the GPU, and its watchdog end the run.
    """
    if not several_processes():
        return None
    run = dist.group.WORLD
    if run not in _groups:
        _groups.clear()
        group = dist.new_group(backend="gloo", timeout=_PATIENCE)
        assert isinstance(group, dist.ProcessGroup)  # this rank is in it, as all are
        _groups[run] = group
    return _groups[run]


def mean_over_ranks(values: Tensor) -> Tensor:
    """Return the element-wise mean over the ranks. With several ranks, each has to call this."""
    if not several_processes():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def of_all_ranks(value: Any) -> list[Any]:
    """Return the values of all ranks, in their order. Every rank has to call this."""
    if not several_processes():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def allow_unused_weights(strategy: Strategy) -> None:
    """Allow training steps that leave some weights without gradients.

    DDP waits for the gradient of every weight unless `find_unused_parameters` is set. Lightning's
    way to set it is the name of a strategy, "ddp_find_unused_parameters_true", which a single
    device (such as Apple's MPS) does not accept.
    """
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs.setdefault("find_unused_parameters", True)


def check_alike(what: str, value: str) -> None:
    """Check that a value is the same on all ranks. Every rank has to call this.

    Args:
        what: What the value describes, for the message.
        value: The value of this rank.

    Raises:
        ValueError: On every rank, if any two ranks differ.
    """
    values = of_all_ranks(value)
    other = next((rank for rank, each in enumerate(values) if each != values[0]), None)
    if other is not None:
        raise ValueError(
            f"the ranks do not start from the same {what}: rank 0 has {values[0]}, rank {other} "
            f"has {values[other]}; give all machines the same files"
        )
