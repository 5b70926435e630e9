"""Evaluate a network on a picture of any size, in bands of rows, with the whole picture's result.

In linear attention a token sees the others only through two small sums per head, and everything
else in a block reaches one neighbour at most. So each block takes one sweep over the picture:
it applies the block, whose sums are known, and adds up the sums of the next block. The tokens
between two blocks are kept in a `RowStore`; all other memory is that of a few cells and bands. A
head that refines the prediction sees further, in one more sweep.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.distributed.processes import Processes
from lsr.inference.cells import Band, Cell, CellGrid, Compute
from lsr.inference.row_store import RowStore
from lsr.nn.attention import KeysValues
from lsr.nn.block import LinearDiTBlock
from lsr.nn.dit import LinearDiT

T = TypeVar("T")

Source = Callable[[Cell], Tensor]
"""Function that computes the values of a cell of one band; several threads call it at a time."""


class Conditioning(NamedTuple):
    """All that a network sees besides its input.

    Attributes:
        t: Flow times (B,) in [0, 1].
        contexts: Keys and values of the context for every block; None where there is no context.
        mask: Mask of the context, see `LinearDiT.forward`.
    """

    t: Tensor
    contexts: Sequence[KeysValues | None]
    mask: Tensor | None


class Refinement(NamedTuple):
    """A last layer that sees predictions around a cell, see `lsr.nn.head.RefiningHead`.

    Attributes:
        reach: Number of tokens on each side of a token that its prediction depends on.
        refine: Function from predictions (B, out_channels, r, c) of a cell to better ones.
    """

    reach: int
    refine: Callable[[Tensor, Cell], Tensor]


class _Window(NamedTuple):
    """The tokens of a band, rows (r, B, W, D), and those around it.

    Attributes:
        band: The band.
        above: The rows above the band; no row at the upper border of the picture.
        here: The rows of the band.
        below: The rows below the band; no row at the lower border.
    """

    band: Band
    above: Tensor
    here: Tensor
    below: Tensor

    def take(self, cell: Cell) -> Tensor:
        """Return the tokens (B, n, D) of a cell that reaches no further than the window."""
        first, last = cell.top - self.band.top, cell.bottom - self.band.top
        parts = [self.here[max(first, 0) : last]]
        if first < 0:
            parts.insert(0, self.above[first:])
        if last > len(self.here):
            parts.append(self.below[: last - len(self.here)])
        rows = torch.cat([part[:, :, cell.left : cell.right] for part in parts])
        return rows.transpose(0, 1).flatten(1, 2)


@dataclass(frozen=True, kw_only=True)
class BandedNetwork:
    """A network that is evaluated on a whole picture.

    Attributes:
        net: The network.
        grid: The grid of tokens.
        tokens: Store of the tokens, rows (B, W, D); every evaluation overwrites it.
        compute: Function that computes cells.
        advance: Function that is called whenever a band of a sweep is finished, except for the
            last sweep, whose bands the caller computes.
        device: Device that computes.
        processes: The processes that compute the parts of the grid.
        refinement: Last layer that sees more than single tokens, or None.
    """

    net: LinearDiT
    grid: CellGrid
    tokens: RowStore
    compute: Compute
    advance: Callable[[], None]
    device: torch.device
    processes: Processes
    refinement: Refinement | None = None

    def run(self, inputs: Iterable[Source], seen: Conditioning) -> Iterator[Source]:
        """Evaluate the network.

        Args:
            inputs: Source of the input (B, in_channels, r, c) for every band.
            seen: Times and context.

        Yields:
            For every band, the source of the predictions (B, out_channels, r, c), float32. Each
            must be used before the next one is asked for.
        """
        if self.grid.is_one_cell:
            yield from self._whole(inputs, seen)
            return
        time, modulation = self.net.modulation(seen.t)
        sources: Iterable[Source] = (partial(self._embed, source) for source in inputs)
        for block, context in zip(self.net.blocks, seen.contexts, strict=True):
            assert isinstance(block, LinearDiTBlock)
            sums = self._stored_sums(sources, partial(block.sums, modulation=modulation))
            attend = partial(
                block.attend,
                modulation=modulation,
                means=(sums / (self.grid.height * self.grid.width)).float(),
                context=context,
                mask=seen.mask,
            )
            feed_forward = partial(block.feed_forward, modulation=modulation)
            windows = self._windows(1)
            sources = (partial(self._apply, attend, feed_forward, window) for window in windows)
        if self.refinement is None:
            yield from (partial(self._predict, source, time) for source in sources)
            return
        self._store(sources, lambda tokens: None)
        for window in self._windows(self.refinement.reach):
            yield partial(self._refined, self.refinement, time, window)

    def _whole(self, inputs: Iterable[Source], seen: Conditioning) -> Iterator[Source]:
        """Evaluate a picture of one cell at once, on a GPU with all kernels and CUDA graphs."""
        for source in inputs:
            for _ in self.net.blocks:
                self.advance()
            yield partial(self._forward, source, seen)

    def _forward(self, source: Source, seen: Conditioning, cell: Cell) -> Tensor:
        contexts = tuple(context for context in seen.contexts if context is not None) or None
        prediction = self.net(source(cell), seen.t, contexts, seen.mask).float()
        return prediction if self.refinement is None else self.refinement.refine(prediction, cell)

    def _stored_sums(self, sources: Iterable[Source], sums: Callable[[Tensor], Tensor]) -> Tensor:
        """Store the tokens of all bands and return the total of their sums.

        The sums of one cell are float32. They are added up in float64, along each row of cells and
        then over these rows, so that the total depends on nothing but the picture.
        """
        columns = self.grid.columns_of_cells
        parts = self._store(sources, sums)
        totals = [_total(parts[i : i + columns]) for i in range(0, len(parts), columns)]
        nothing = torch.empty(0, dtype=torch.float64, device=self.device)
        return _total(self.processes.gather(torch.stack(totals) if totals else nothing).unbind())

    def _store(self, sources: Iterable[Source], measure: Callable[[Tensor], T]) -> list[T]:
        """Store the tokens of all bands and return what `measure` returns for every cell."""
        measured: list[T] = []
        for band, source in zip(self.grid.bands, sources, strict=True):
            rows = self.tokens.empty(band)
            keep = partial(_keep, source, measure, rows, band)
            measured += self.compute(keep, self.grid.cells(band))
            self.tokens.write(band, rows)
            self.advance()
        return measured

    def _borders(self, reach: int) -> tuple[Tensor, Tensor]:
        """Return the stored rows above and below the part of this process, from its neighbours.

        There are no such rows at the borders of the picture.
        """
        bands = self.grid.bands
        first = self.tokens.first_rows(bands[0], reach) if bands and bands[0].top > 0 else None
        if first is not None and len(first) < reach:
            # Neighbours exchange as many rows; those beyond the picture are in no window.
            first = F.pad(first, [0, 0] * (first.dim() - 1) + [0, reach - len(first)])
        inside = bands and bands[-1].bottom < self.grid.height
        last = self.tokens.last_rows(bands[-1], reach) if inside else None
        above, below = self.processes.swap(first, last)
        nothing = self.tokens.empty(Band(0, 0))
        return nothing if above is None else above, nothing if below is None else below

    def _windows(self, reach: int) -> Iterator[_Window]:
        """Yield the stored tokens of every band. A band may be overwritten once it is yielded.

        Args:
            reach: Number of rows above and below a band that its window has.
        """
        assert reach <= self.grid.cell_size[0], "a window reaches beyond the next band"
        bands = self.grid.bands
        above, below = self._borders(reach)
        for band, following in zip_longest(bands, bands[1:]):
            here = self.tokens.read(band)
            after = below if following is None else self.tokens.first_rows(following, reach)
            yield _Window(band, above, here, after)
            above = here[-reach:].clone()

    def _embed(self, source: Source, cell: Cell) -> Tensor:
        """Return the embedded input (B, n, D) of a cell."""
        return self.net.tokens(source(cell))

    def _apply(
        self,
        attend: Callable[[Tensor], Tensor],
        feed_forward: Callable[..., Tensor],
        window: _Window,
        cell: Cell,
    ) -> Tensor:
        """Return the tokens (B, n, D) of a cell after a block."""
        # The feed-forward needs the neighbours of the cell, after the attention.
        outer = cell.grown(1, self.grid)
        attended = attend(window.take(outer).to(self.device))
        tokens = feed_forward(attended, outer.size).unflatten(1, outer.size)
        return tokens[:, *cell.inside(outer)].flatten(1, 2)

    def _predict(self, source: Source, time: Tensor, cell: Cell) -> Tensor:
        prediction = self.net.prediction(source(cell), time).float()
        return prediction.transpose(1, 2).unflatten(2, cell.size)

    def _refined(self, refinement: Refinement, time: Tensor, window: _Window, cell: Cell) -> Tensor:
        """Return the refined predictions (B, out_channels, r, c) of a cell."""
        outer = cell.grown(refinement.reach, self.grid)
        around = self._predict(lambda outer: window.take(outer).to(self.device), time, outer)
        return refinement.refine(around, outer)[..., *cell.inside(outer)]


def _total(sums: Sequence[Tensor]) -> Tensor:
    """Return the total of sums, float64, added up in their order."""
    total = sums[0].double()
    for each in sums[1:]:
        total = total + each
    return total


def _keep(
    source: Source, measure: Callable[[Tensor], T], rows: Tensor, band: Band, cell: Cell
) -> T:
    """Write the tokens of a cell into the rows (r, B, W, D) of its band and measure them."""
    tokens = source(cell)
    cell.of(rows, band).copy_(tokens.unflatten(1, cell.size).transpose(0, 1))
    return measure(tokens)
