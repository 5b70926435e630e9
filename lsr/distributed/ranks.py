"""Work that one rank does for all."""

from collections.abc import Callable

from lightning.pytorch.strategies import DDPStrategy, Strategy


def on_rank_zero(strategy: Strategy, work: Callable[[], object]) -> None:
    """Do `work` on rank 0 while the others wait; if it fails there it fails on every rank, and none waits alone.

    Args:
        strategy: The trainer's.
        work: What to do, file work for example.

    Raises:
        ValueError: On every rank, with what rank 0 had to say.
    """
    cause: Exception | None = None
    if strategy.is_global_zero:
        try:
            work()
        except Exception as error:  # whatever it is, the others must learn of it
            cause = error
    failure = strategy.broadcast(cause and (str(cause) or type(cause).__name__), src=0)
    if failure is not None:
        raise ValueError(failure) from cause


def allow_unused_weights(strategy: Strategy) -> None:
    """Let a training step leave weights without gradients: DDP waits for each of them unless it looks for those that are not used.

    Lightning takes this as a part of the strategy's name, which single devices (Apple's above all) do not take.
    """
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
