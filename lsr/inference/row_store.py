"""Keep a tensor that has the size of a picture: in memory, or in a temporary file."""

import math

import torch
from torch import Tensor

from lsr.inference.cells import Band
from lsr.inference.temporary_file import reserved_file


class RowStore:
    """Rows of a float32 tensor (H, *shape) that are written and read in bands.

    The temporary file is read and written, not mapped into memory: mapped pages would count as
    memory of this process.

    Args:
        part: The rows that are kept.
        shape: Shape of one row, (..., W, C).
        device: Device that keeps the rows if they are in memory.
        in_file: Whether to keep the rows in a temporary file, in the folder for temporary files
            (environment variable TMPDIR).

    Raises:
        OSError: If the disk is too full for the temporary file.
    """

    def __init__(
        self, part: Band, shape: tuple[int, ...], device: torch.device, in_file: bool
    ) -> None:
        self._top = part.top
        self._shape = shape
        self._device = torch.device("cpu") if in_file else device
        self._row_bytes = 4 * math.prod(shape)
        self._file = reserved_file((part.bottom - part.top) * self._row_bytes) if in_file else None
        self._bands: dict[int, Tensor] = {}

    def empty(self, band: Band) -> Tensor:
        """Return uninitialised memory for the rows of a band, (r, *shape)."""
        return torch.empty(band.bottom - band.top, *self._shape, device=self._device)

    def write(self, band: Band, rows: Tensor) -> None:
        """Replace the rows of a band by `rows`, (r, *shape), which must not change afterwards."""
        if self._file is None:
            self._bands[band.top] = rows
            return
        self._seek(band)
        self._file.write(_bytes_of(rows))

    def read(self, band: Band) -> Tensor:
        """Return the rows of a band that was written, (r, *shape)."""
        if self._file is None:
            return self._bands[band.top]
        rows = self.empty(band)
        self._seek(band)
        read = self._file.readinto(_bytes_of(rows))  # pyright: ignore[reportAttributeAccessIssue]
        assert read == len(rows) * self._row_bytes
        return rows

    def first_rows(self, band: Band, number: int) -> Tensor:
        """Return the first rows of a band that was written, (number, *shape), or all of them."""
        if self._file is None:
            return self._bands[band.top][:number]
        return self.read(Band(band.top, min(band.top + number, band.bottom)))

    def last_rows(self, band: Band, number: int) -> Tensor:
        """Return the last rows of a band that was written, (number, *shape), or all of them."""
        if self._file is None:
            return self._bands[band.top][-number:]
        return self.read(Band(max(band.top, band.bottom - number), band.bottom))

    def close(self) -> None:
        """Free the memory or the disk space."""
        self._bands.clear()
        if self._file is not None:
            self._file.close()

    def _seek(self, band: Band) -> None:
        assert self._file is not None
        self._file.seek((band.top - self._top) * self._row_bytes)


def _bytes_of(rows: Tensor) -> memoryview:
    return rows.numpy().data.cast("B")
