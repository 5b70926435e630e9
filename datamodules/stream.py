"""The order of training samples: one endless stream that is the same for any number of ranks and workers."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

_ORDER, _MIX = 0x6F72646572, 0x6D6978  # name these uses of the seed
_ROUND = 1000  # positions after which every source has had exactly its share


@lru_cache(maxsize=4)
def _round(seed: int, number: int, shares: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the source of each position of a round, and how many earlier positions of the round have the same source."""
    order = np.random.Generator(np.random.Philox(key=[seed, _MIX], counter=[0, 0, 0, number]))
    sources = order.permutation(np.repeat(np.arange(len(shares)), shares))
    earlier = np.empty_like(sources)
    for source, share in enumerate(shares):
        earlier[sources == source] = np.arange(share)
    return sources, earlier


def shares_of(weights: Sequence[float]) -> tuple[int, ...]:
    """Return how many of `_ROUND` positions each weight stands for: at least one each, by the largest remainders.

    Raises:
        ValueError: If a weight is not positive, or there are more than a tenth of `_ROUND` of them.
    """
    if (
        not weights
        or min(weights) <= 0
        or not np.isfinite(weights).all()
        or len(weights) > _ROUND // 10
    ):
        raise ValueError(
            f"weights must be 1 to {_ROUND // 10} positive numbers, not {list(weights)}"
        )
    exact = np.array(weights, float) / sum(weights) * _ROUND
    shares = np.maximum(exact.astype(int), 1)
    while shares.sum() != _ROUND:
        step = 1 if shares.sum() < _ROUND else -1
        shares[np.argmax(step * (exact - shares) - (shares + step < 1) * _ROUND)] += step
    return tuple(shares.tolist())


class StreamBatchSampler(Sampler[list[tuple[int, int]]]):
    """Yields batches of `(draw, index)` without end: every photograph of a source once per draw, reshuffled at each.

    The j-th position that falls to source s is photograph `permutation[j % lengths[s]]` of it in draw `j // lengths[s]`. Which
    source a position falls to is shuffled within rounds, each of which holds every source in proportion to its weight. Global
    batch k holds the positions `k * world_size * batch_size ...`, of which each rank takes its own run. So a stream is known by
    its seed, and continued by its start, even with another number of ranks.

    Args:
        lengths: Number of photographs of each source; indices count through the sources one after the other.
        batch_size: Samples per rank and batch.
        seed: Seed of the order.
        rank: This rank.
        world_size: Number of ranks.
        start: Tells the position to begin at, each time that iteration begins.
        weights: How often each source is drawn from, in any unit; None makes one source of all, each photograph as often.
        batches: Tells which global batch of the stream the k-th is, of those that are used; positions count these alone.

    Raises:
        ValueError: If `batch_size` is below 1, or the weights do not fit the sources.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: Callable[[], int] = lambda: 0,
        weights: Sequence[float] | None = None,
        batches: Callable[[int], int] = lambda k: k,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if weights is not None and (len(weights) != len(lengths) or min(lengths) < 1):
            raise ValueError(
                f"{len(weights)} weights for {len(lengths)} sources of {list(lengths)} photographs"
            )
        self.lengths = [sum(lengths)] if weights is None else list(lengths)
        self.shares = (1,) if weights is None else shares_of(weights)
        self._first = np.cumsum([0, *self.lengths]).tolist()
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world_size, self.start, self.batches = rank, world_size, start, batches
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = self.start() + self.rank * self.batch_size
        while True:
            yield [
                self._sample(self._in_stream(n))
                for n in range(position, position + self.batch_size)
            ]
            position += self.world_size * self.batch_size

    def _in_stream(self, position: int) -> int:
        size = self.world_size * self.batch_size
        return self.batches(position // size) * size + position % size

    def _sample(self, position: int) -> tuple[int, int]:
        number, place = divmod(position, sum(self.shares))
        sources, earlier = _round(self.seed, number, self.shares)
        source = int(sources[place])
        draw, place = divmod(
            number * self.shares[source] + int(earlier[place]), self.lengths[source]
        )
        return draw, self._first[source] + int(self._order(source, draw)[place])

    def _order(self, source: int, draw: int) -> np.ndarray:
        # The newest one of each source is enough: positions only ever grow.
        if self._orders.get(source, (-1,))[0] != draw:
            generator = np.random.Generator(
                np.random.Philox(key=[self.seed, _ORDER], counter=[0, 0, source, draw])
            )
            self._orders[source] = draw, generator.permutation(self.lengths[source])
        return self._orders[source][1]
