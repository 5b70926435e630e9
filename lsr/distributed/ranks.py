"""Let one rank do work for all, compare ranks, and let DDP accept unused weights."""

from collections.abc import Callable

import torch
from lightning.pytorch.strategies import DDPStrategy, Strategy


def on_rank_zero(strategy: Strategy, work: Callable[[], object]) -> None:
    """Do `work` on rank 0 while the other ranks wait.

    If it fails, every rank fails: otherwise the others would wait for ever for rank 0.

    Args:
        strategy: Strategy of the trainer.
        work: Function to call on rank 0; it writes a file, for example.

    Raises:
        ValueError: On every rank, with the message of the exception on rank 0.
    """
    cause: Exception | None = None
    if strategy.is_global_zero:
        try:
            work()
        except Exception as error:  # any exception: the other ranks must know of it
            cause = error
    failure = strategy.broadcast(cause and (str(cause) or type(cause).__name__), src=0)
    if failure is not None:
        raise ValueError(failure) from cause


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
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    values: list[str] = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    other = next((rank for rank, each in enumerate(values) if each != values[0]), None)
    if other is not None:
        raise ValueError(
            f"the ranks do not start from the same {what}: rank 0 has {values[0]}, rank {other} "
            f"has {values[other]}; give all machines the same files"
        )
