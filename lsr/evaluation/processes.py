"""Distribute an evaluation over processes that `--devices` or `torchrun` starts."""

import multiprocessing
from collections.abc import Sequence

from lsr.distributed.processes import LostProcess
from lsr.evaluation.data import Item
from lsr.evaluation.per_image import merge
from lsr.evaluation.scoring import Job, pending, score


def score_as_rank(jobs: Sequence[Job], rank: int, size: int) -> None:
    """Evaluate the share of one process of `torchrun`; process 0 merges the rows at the end.

    Args:
        jobs: All jobs, the same in every process.
        rank: Rank of this process.
        size: Number of processes.
    """
    import torch.distributed

    torch.distributed.barrier()  # until process 0 has claimed the folders
    work = [(job, pending(job)) for job in jobs]
    torch.distributed.barrier()  # until all know the pending images, which results would change
    _score_all(work, rank, size)
    torch.distributed.barrier()
    if rank == 0:
        _merge_all(jobs)


def score_in_processes(jobs: Sequence[Job], devices: int) -> None:
    """Evaluate all pending images of all jobs, and merge the rows.

    Args:
        jobs: The jobs.
        devices: Number of processes, including this one.

    Raises:
        LostProcess: If one of the processes died.
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
            f"process {', '.join(lost)} of {devices} ended early; "
            "run the same command again to continue"
        )


def _score_all(work: Sequence[tuple[Job, Sequence[Item]]], rank: int, size: int) -> None:
    """Evaluate the share of process `rank` of `size`: jobs with their pending images."""
    for job, items in work:
        score(job, items, rank, size)


def _merge_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        merge(job.out)
