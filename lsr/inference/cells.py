"""Cut a grid of tokens into cells, the units of computation, and compute them in threads.

A cell is small enough for its activations to stay in the cache of a processor. The cells of a
picture depend on its size and on the kind of device alone. So the results are the same, to the last
bit, for every number of rows that are computed together and for every number of threads.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Thread
from typing import Any, NamedTuple

import torch
from torch import Tensor

_CELL_ON_CPU = 32, 64
"""Rows and columns of tokens per cell on a CPU."""

_CELL_ON_GPU = 65536
"""Most tokens per cell on a GPU, where small kernels would cost time."""

_WIDEST_ON_GPU = 1024
"""Most columns of tokens per cell on a GPU: wide cells make more rows of cells to share."""


class Band(NamedTuple):
    """The rows [top, bottom) of a grid."""

    top: int
    bottom: int


class Cell(NamedTuple):
    """A rectangle of a grid: the rows [top, bottom) and the columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return self.bottom - self.top, self.right - self.left

    def times(self, factor: int) -> "Cell":
        """Return the same rectangle on a grid with `factor` times as many rows and columns."""
        return Cell(*(factor * position for position in self))

    def grown(self, margin: int, grid: "CellGrid") -> "Cell":
        """Return the cell with `margin` more positions on each side, as far as the grid reaches."""
        return Cell(
            max(0, self.top - margin),
            min(grid.height, self.bottom + margin),
            max(0, self.left - margin),
            min(grid.width, self.right + margin),
        )

    def of(self, rows: Tensor, band: Band) -> Tensor:
        """Return a view of this cell in the rows (r, ..., W, C) of a band."""
        return rows[self.top - band.top : self.bottom - band.top, ..., self.left : self.right, :]

    def inside(self, outer: "Cell") -> tuple[slice, slice]:
        """Return the rows and the columns of this cell within a larger one."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


@dataclass(frozen=True)
class CellGrid:
    """A grid of tokens that is cut into cells.

    Attributes:
        height: Rows of the grid.
        width: Columns of the grid.
        cell_size: Rows and columns per cell; cells at the lower and the right border are smaller.
        cell_rows: Rows of cells that a band holds.
        part: Rows that this process computes, whole rows of cells; None is all of them.
    """

    height: int
    width: int
    cell_size: tuple[int, int]
    cell_rows: int = 1
    part: Band | None = None

    @property
    def whole(self) -> Cell:
        """The whole grid as one cell."""
        return Cell(0, self.height, 0, self.width)

    @property
    def is_one_cell(self) -> bool:
        """Whether one cell covers the whole grid."""
        return self.height <= self.cell_size[0] and self.width <= self.cell_size[1]

    @property
    def own(self) -> Band:
        """The rows that this process computes."""
        return self.part or Band(0, self.height)

    @property
    def bands(self) -> list[Band]:
        """The bands that this process computes, from top to bottom."""
        step = self.cell_rows * self.cell_size[0]
        top, bottom = self.own
        return [Band(start, min(start + step, bottom)) for start in range(top, bottom, step)]

    @property
    def rows_of_cells(self) -> int:
        """Number of rows of cells of the whole grid."""
        return -(-self.height // self.cell_size[0])

    @property
    def columns_of_cells(self) -> int:
        """Number of columns of cells."""
        return -(-self.width // self.cell_size[1])

    def divided(self, rank: int, size: int) -> "CellGrid":
        """Return the grid with the part of one of several processes.

        The parts are contiguous and differ by one row of cells at most. Without enough rows of
        cells the last processes get no rows.

        Args:
            rank: Number of the process.
            size: Number of processes.
        """
        busy = min(size, self.rows_of_cells)
        first, last = (
            min(each, busy) * self.rows_of_cells // busy * self.cell_size[0]
            for each in (rank, rank + 1)
        )
        return replace(self, part=Band(min(first, self.height), min(last, self.height)))

    def cells(self, band: Band) -> list[Cell]:
        """Return the cells of a band, row by row."""
        height, width = self.cell_size
        return [
            Cell(top, min(top + height, self.height), left, min(left + width, self.width))
            for top in range(band.top, band.bottom, height)
            for left in range(0, self.width, width)
        ]


def cell_size(device: torch.device, width: int) -> tuple[int, int]:
    """Return the rows and columns of tokens per cell on a device, for a grid of some width."""
    if device.type == "cpu":
        return _CELL_ON_CPU
    columns = min(width, _WIDEST_ON_GPU)
    return _CELL_ON_GPU // columns, columns


Compute = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]
"""Applies a function to items, such as cells, and returns its values in the order of the items."""


@contextmanager
def compute_in_threads(device: torch.device) -> Iterator[Compute]:
    """Yield a function that computes cells, several at a time on a CPU.

    Every thread computes a cell of its own with operations of one thread. Operations that are
    divided among threads would wait for each other many times per cell.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield lambda function, items: [function(item) for item in items]
        return
    pool = ThreadPoolExecutor(threads, initializer=_compute_in_one_thread, initargs=(threads,))
    try:
        yield lambda function, items: list(pool.map(torch.no_grad()(function), items))
    finally:
        pool.shutdown(cancel_futures=True)


def _compute_in_one_thread(threads: int) -> None:
    """Make the operations of this thread use no other threads.

    Args:
        threads: Number of threads that operations of other threads use.
    """
    torch.get_num_threads()  # PyTorch sets the number once per thread, at the first use
    torch.set_num_threads(1)
    # PyTorch also keeps the number for threads that are yet to come, a server's for example. Only a
    # thread of its own can restore it without changing the number of this one.
    restoring = Thread(target=torch.set_num_threads, args=(threads,))
    restoring.start()
    restoring.join()
