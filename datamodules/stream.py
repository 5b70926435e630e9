"""The order of training samples: one endless stream that is the same for any number of ranks and workers."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

_ORDER = 0x6F72646572  # names this use of the seed


@lru_cache(maxsize=2)
def _permutation(seed: int, draw: int, length: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, _ORDER], counter=[0, 0, 0, draw])).permutation(length)


class StreamBatchSampler(Sampler[list[tuple[int, int]]]):
    """Yields batches of `(draw, index)` without end: every photograph once per draw, reshuffled at each.

    Position n of the stream is `(n // length, permutation[n % length])`. Global batch k holds the positions
    `k * world_size * batch_size ...`, of which each rank takes its own run. So a stream is known by its seed, and continued
    by its start, even with another number of ranks.

    Args:
        length: Number of photographs.
        batch_size: Samples per rank and batch.
        seed: Seed of the order.
        rank: This rank.
        world_size: Number of ranks.
        start: Tells the position to begin at, each time that iteration begins.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, start: Callable[[], int] = lambda: 0
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world_size, self.start = rank, world_size, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = self.start() + self.rank * self.batch_size
        while True:
            yield [self._sample(n) for n in range(position, position + self.batch_size)]
            position += self.world_size * self.batch_size

    def _sample(self, position: int) -> tuple[int, int]:
        draw, place = divmod(position, self.length)
        return draw, int(_permutation(self.seed, draw, self.length)[place])
