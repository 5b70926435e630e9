"""Distribute an evaluation over the processes that `--devices` or `torchrun` has started."""

from collections.abc import Sequence
from dataclasses import replace

from lsr.distributed.processes import Processes
from lsr.evaluation.per_image import merge
from lsr.evaluation.scoring import Job, device_of, pending, score
from lsr.inference.memory import common_budget


def score_together(jobs: Sequence[Job], processes: Processes) -> None:
    """Evaluate all pending images of all jobs, and merge the rows.

    Args:
        jobs: All jobs, the same in every process.
        processes: The processes; all of them call this.

    Raises:
        LostProcess: If one of the processes died.
    """
    work = [(_within_budget(job, processes), pending(job)) for job in jobs]
    processes.of_all(None)  # all know the pending images now, which results will change
    with processes.together():
        for job, items in work:
            score(job, items, processes)
    if processes.leads:
        for job in jobs:
            merge(job.out)


def _within_budget(job: Job, processes: Processes) -> Job:
    """Return a job whose memory all processes can keep to."""
    memory = common_budget(job.sampling.memory, device_of(job, processes), processes)
    return replace(job, sampling=replace(job.sampling, memory=memory))
