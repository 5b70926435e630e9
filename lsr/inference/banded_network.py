"""Evaluate a network on a picture of any size, in bands of rows, with the whole picture's result.

In linear attention a token sees the others only through two small sums per head, and everything
else in the network reaches one neighbour at most. So each block takes one sweep over the picture:
it applies the block, whose sums are known, and adds up the sums of the next block. The tokens
between two blocks are kept in a `RowStore`; all other memory is that of a few cells and bands.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from lsr.distributed.processes import Processes
from lsr.inference.cells import Band, Cell, CellGrid, Compute
from lsr.inference.row_store import RowStore
from lsr.nn.attention import KeysValues
from lsr.nn.block import LinearDiTBlock
from lsr.nn.dit import LinearDiT

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


class _Window(NamedTuple):
    """The tokens of a band, rows (r, B, W, D), and those around it.

    Attributes:
        band: The band.
        above: The row above the band; no row at the upper border of the picture.
        here: The rows of the band.
        below: The row below the band; no row at the lower border.
    """

    band: Band
    above: Tensor
    here: Tensor
    below: Tensor

    def take(self, cell: Cell) -> Tensor:
        """Return the tokens (B, n, D) of a cell that reaches one row beyond the band at most."""
        first, last = cell.top - self.band.top, cell.bottom - self.band.top
        parts = [self.here[max(first, 0) : last]]
        if first < 0:
            parts.insert(0, self.above)
        if last > len(self.here):
            parts.append(self.below)
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
    """

    net: LinearDiT
    grid: CellGrid
    tokens: RowStore
    compute: Compute
    advance: Callable[[], None]
    device: torch.device
    processes: Processes

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
            sums = self._store(sources, partial(block.sums, modulation=modulation))
            attend = partial(
                block.attend,
                modulation=modulation,
                means=(sums / (self.grid.height * self.grid.width)).float(),
                context=context,
                mask=seen.mask,
            )
            feed_forward = partial(block.feed_forward, modulation=modulation)
            windows = self._windows(*self._borders())
            sources = (partial(self._apply, attend, feed_forward, window) for window in windows)
        for source in sources:
            yield partial(self._predict, source, time)

    def _whole(self, inputs: Iterable[Source], seen: Conditioning) -> Iterator[Source]:
        """Evaluate a picture of one cell at once, on a GPU with all kernels and CUDA graphs."""
        for source in inputs:
            for _ in self.net.blocks:
                self.advance()
            yield partial(self._forward, source, seen)

    def _forward(self, source: Source, seen: Conditioning, cell: Cell) -> Tensor:
        contexts = tuple(context for context in seen.contexts if context is not None) or None
        return self.net(source(cell), seen.t, contexts, seen.mask).float()

    def _store(self, sources: Iterable[Source], sums: Callable[[Tensor], Tensor]) -> Tensor:
        """Store the tokens of all bands and return the total of their sums.

        The sums of one cell are float32. They are added up in float64, along each row of cells and
        then over these rows, so that the total depends on nothing but the picture.
        """
        columns = self.grid.columns_of_cells
        totals: list[Tensor] = []
        for band, source in zip(self.grid.bands, sources, strict=True):
            rows = self.tokens.empty(band)
            keep = partial(_keep, source, sums, rows, band)
            parts = self.compute(keep, self.grid.cells(band))
            totals += (_total(parts[i : i + columns]) for i in range(0, len(parts), columns))
            self.tokens.write(band, rows)
            self.advance()
        nothing = torch.empty(0, dtype=torch.float64, device=self.device)
        return _total(self.processes.gather(torch.stack(totals) if totals else nothing).unbind())

    def _borders(self) -> tuple[Tensor, Tensor]:
        """Return the stored rows above and below the part of this process, from its neighbours.

        There are no such rows at the borders of the picture.
        """
        bands = self.grid.bands
        first = self.tokens.first_row(bands[0]) if bands and bands[0].top > 0 else None
        inside = bands and bands[-1].bottom < self.grid.height
        last = self.tokens.last_row(bands[-1]) if inside else None
        above, below = self.processes.swap(first, last)
        nothing = self.tokens.empty(Band(0, 0))
        return nothing if above is None else above, nothing if below is None else below

    def _windows(self, above: Tensor, below: Tensor) -> Iterator[_Window]:
        """Yield the stored tokens of every band. A band may be overwritten once it is yielded.

        Args:
            above: The row above the first band.
            below: The row below the last band.
        """
        bands = self.grid.bands
        for band, following in zip_longest(bands, bands[1:]):
            here = self.tokens.read(band)
            after = below if following is None else self.tokens.first_row(following)
            yield _Window(band, above, here, after)
            above = here[-1:].clone()

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


def _total(sums: Sequence[Tensor]) -> Tensor:
    """Return the total of sums, float64, added up in their order."""
    total = sums[0].double()
    for each in sums[1:]:
        total = total + each
    return total


def _keep(
    source: Source, sums: Callable[[Tensor], Tensor], rows: Tensor, band: Band, cell: Cell
) -> Tensor:
    """Write the tokens of a cell into the rows (r, B, W, D) of its band and return their sums."""
    tokens = source(cell)
    cell.of(rows, band).copy_(tokens.unflatten(1, cell.size).transpose(0, 1))
    return sums(tokens)
