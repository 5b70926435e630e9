"""The order of training samples: an endless stream that depends on its seed alone."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

# Second words of the key of a Philox generator, "order" and "mix" in ASCII: they keep the random
# numbers of two purposes apart although the first word, the seed, is the same.
_ORDER = 0x6F72646572
_MIX = 0x6D6978

_ROUND = 1000
"""Number of positions in which every source has exactly its share."""


@lru_cache(maxsize=4)
def _round(seed: int, number: int, shares: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Shuffle the sources of the positions in one round.

    Args:
        seed: Seed of the stream.
        number: Number of the round.
        shares: Number of positions of each source in a round.

    Returns:
        The source of each position, and the number of earlier positions of the round with the same
        source; both (sum of shares,).
    """
    order = np.random.Generator(np.random.Philox(key=[seed, _MIX], counter=[0, 0, 0, number]))
    sources = order.permutation(np.repeat(np.arange(len(shares)), shares))
    earlier = np.empty_like(sources)
    for source, share in enumerate(shares):
        earlier[sources == source] = np.arange(share)
    return sources, earlier


def shares_of(weights: Sequence[float]) -> tuple[int, ...]:
    """Return the number of positions of each source in a round, by the largest remainders.

    Args:
        weights: Relative frequency of each source, in any unit.

    Returns:
        Integers of at least 1 that sum to `_ROUND`.

    Raises:
        ValueError: A weight is not positive and finite, or there are no weights or more than a
            tenth of `_ROUND`.
    """
    if (
        not weights
        or min(weights) <= 0
        or not np.isfinite(weights).all()
        or len(weights) > _ROUND // 10
    ):
        raise ValueError(
            f"train_weights must be 1 to {_ROUND // 10} positive numbers, not {list(weights)}"
        )
    exact = np.array(weights, float) / sum(weights) * _ROUND
    shares = np.maximum(exact.astype(int), 1)
    while shares.sum() != _ROUND:
        step = 1 if shares.sum() < _ROUND else -1
        # The last term keeps every share at 1 at least.
        gain = step * (exact - shares) - (shares + step < 1) * _ROUND
        shares[np.argmax(gain)] += step
    return tuple(shares.tolist())


class StreamBatchSampler(Sampler[list[tuple[int, int]]]):
    """Yields batches of `(epoch, index)` of photographs without end.

    The stream of samples is a function of the seed, the lengths and the weights. It does not depend
    on the number of workers or ranks: R ranks with batches of B samples see together what one rank
    sees with batches of R B samples. It can be continued at any position, also on another number of
    ranks.

    A source is a set of photographs that is drawn from with one frequency. Every source has epochs
    of its own: in an epoch each of its photographs occurs once, in a new random order. Position p
    of the stream is assigned to a source, and the j-th position of source s is photograph
    `order[j % lengths[s]]` of that source in epoch `j // lengths[s]`. The assignment is shuffled
    within rounds of 1000 positions, in which the number of positions of a source is proportional
    to its weight. Both random orders are computed from the seed when they are needed: the order of
    an epoch from (seed, source, epoch), the assignment in a round from (seed, round). So no state
    must be kept, except for the position.

    Batch k of all ranks together holds the R B positions from k R B on; rank r takes the B
    positions from k R B + r B on.

    Args:
        lengths: Number of photographs in each source. Indices count through the sources one after
            the other.
        batch_size: Samples per rank and batch, B.
        seed: Seed of the order.
        rank: Number of this rank, r.
        world_size: Number of ranks, R.
        start: Function that returns the position to begin at, each time that an iteration begins.
        weights: Relative frequency of each source, in any unit. None makes one source of all
            photographs.
        batches: Function that returns which batch of the stream is used as the k-th batch; the
            default uses all. `start` counts the samples of used batches only.

    Raises:
        ValueError: `batch_size` is below 1, or the weights do not fit the sources.
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
                f"each source needs one weight and at least one photograph, not {len(weights)} "
                f"weights for {len(lengths)} sources of {list(lengths)} photographs"
            )
        self.lengths = [sum(lengths)] if weights is None else list(lengths)
        self.shares = (1,) if weights is None else shares_of(weights)
        self._first = np.cumsum([0, *self.lengths]).tolist()
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start
        self.batches = batches
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position = self.start() + self.rank * self.batch_size
        while True:
            used = range(position, position + self.batch_size)
            yield [self._sample(self._in_stream(n)) for n in used]
            position += self.world_size * self.batch_size

    def _in_stream(self, position: int) -> int:
        """Return the position in the stream of a position among the used batches."""
        size = self.world_size * self.batch_size
        return self.batches(position // size) * size + position % size

    def _sample(self, position: int) -> tuple[int, int]:
        """Return the (epoch, index) at a position of the stream."""
        number, place = divmod(position, sum(self.shares))
        sources, earlier = _round(self.seed, number, self.shares)
        source = int(sources[place])
        of_source = number * self.shares[source] + int(earlier[place])
        epoch, place = divmod(of_source, self.lengths[source])
        return epoch, self._first[source] + int(self._order(source, epoch)[place])

    def _order(self, source: int, epoch: int) -> np.ndarray:
        """Return the random order of the photographs of a source in an epoch, (length,)."""
        # Positions only grow, so the newest order of each source is enough to keep.
        if self._orders.get(source, (-1,))[0] != epoch:
            generator = np.random.Generator(
                np.random.Philox(key=[self.seed, _ORDER], counter=[0, 0, source, epoch])
            )
            self._orders[source] = epoch, generator.permutation(self.lengths[source])
        return self._orders[source][1]
