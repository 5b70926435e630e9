"""An evaluation on several GPUs: by `--devices`, or by `torchrun`, on several machines too."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from lsr.evaluation.data import Item
from lsr.evaluation.rows import merge
from lsr.evaluation.scoring import Job, pending, score

_PATIENCE = timedelta(days=7)
"""How long a process waits for the slowest."""


class LostProcess(RuntimeError):  # noqa: N818
    """A process has ended before its work was done; what it has done is kept."""


@contextmanager
def launched() -> Iterator[tuple[int, int]]:
    """Join the processes that `torchrun` has started, if it has.

    Yields:
        The number of this process and how many there are.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield 0, 1
        return
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield torch.distributed.get_rank(), size
    finally:
        torch.distributed.destroy_process_group()


def score_as_rank(jobs: Sequence[Job], rank: int, size: int) -> None:
    """Do this process's share of what `launched` has begun, job by job; the first process puts the rows together."""
    import torch.distributed

    torch.distributed.barrier()  # until the first has claimed the folders
    work = [(job, pending(job)) for job in jobs]
    torch.distributed.barrier()  # until all know what there is to do
    _score_all(work, rank, size)
    torch.distributed.barrier()
    if rank == 0:
        _merge_all(jobs)


def score_in_processes(jobs: Sequence[Job], devices: int) -> None:
    """Measure all images of all jobs in `devices` processes, of which this is one, and put the rows together.

    Raises:
        LostProcess: If one of them has died.
    """
    spawn = multiprocessing.get_context("spawn")
    work = [(job, pending(job)) for job in jobs]
    needed = min(devices, max(len(items) for _, items in work))
    others = [
        spawn.Process(target=_score_all, args=(work, rank, devices), daemon=True)
        for rank in range(1, needed)
    ]
    for process in others:
        process.start()
    _score_all(work, 0, devices)
    for process in others:
        process.join()
    _merge_all(jobs)
    lost = [
        f"{rank} (exit code {process.exitcode})"
        for rank, process in enumerate(others, 1)
        if process.exitcode
    ]
    if lost:
        raise LostProcess(
            f"process {', '.join(lost)} of {devices} ended early; run the same command again, it continues"
        )


def _score_all(work: Sequence[tuple[Job, Sequence[Item]]], rank: int, size: int) -> None:
    for job, items in work:
        score(job, items, rank, size)


def _merge_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        merge(job.out)
