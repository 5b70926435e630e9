"""Bring the parts of a picture that several processes compute to the first of them, in order."""

import math
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import torch
from torch import Tensor

from lsr.distributed.processes import Processes


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
    with tempfile.TemporaryFile() as file:
        shapes = _write(own, file)
        file.seek(0)
        for owner, others in enumerate(counts[1:], 1):
            for number in range(others):
                is_own = owner == processes.rank
                processes.to_leader(_read(file, shapes[number]) if is_own else None, owner)


def _write(blocks: Iterator[Tensor], file: BinaryIO) -> list[torch.Size]:
    """Append blocks to a file and return their shapes."""
    shapes = []
    for block in blocks:
        shapes.append(block.shape)
        file.write(block.contiguous().numpy().data)
    return shapes


def _read(file: BinaryIO, shape: torch.Size) -> Tensor:
    """Return the next block of a file."""
    block = bytearray(file.read(4 * math.prod(shape)))
    return torch.frombuffer(block, dtype=torch.float32).view(shape)
