"""Bring the parts of a picture that several processes compute to the first of them, in order."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from lsr.distributed.processes import Processes
from lsr.inference.temporary_file import BlockFile


def joined_parts(own: Iterator[Tensor], count: int, processes: Processes) -> Iterator[Tensor]:
    """Yield the blocks of all processes in process 0, and nothing in the others.

    Process 0 yields its own blocks while they are computed. All processes compute at the same time:
    the others keep their blocks in a temporary file until process 0 has come to them. A reader need
    not ask for more after the last block.

    Args:
        own: The blocks of this process, float32. Their shapes may differ.
        count: Number of them.
        processes: The processes, in the order of their parts.
    """
    counts = processes.of_all(count)
    if processes.leads:
        yield from own
        for owner, others in enumerate(counts[1:], 1):
            for _ in range(others):
                block = processes.to_leader(None, owner)
                assert block is not None
                yield block
        return
    with closing(BlockFile(np.float32)) as file:
        for block in own:
            file.write(block.numpy())
        kept = file.read()
        for owner, others in enumerate(counts[1:], 1):
            for _ in range(others):
                is_own = owner == processes.rank
                processes.to_leader(torch.from_numpy(next(kept)) if is_own else None, owner)
