"""Temporary files whose disk is named if it is full, and a queue of arrays in such a file.

The files have no name in the file system, so the operating system removes them however the process
ends, SIGKILL included.
"""

import errno
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

_REMEDY = "set TMPDIR to another folder"


class BlockFile:
    """Arrays that are kept in a temporary file until they are read, in the order of writing.

    Args:
        dtype: Type of the arrays; their shapes may differ.
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._shapes: list[tuple[int, ...]] = []
        self._size = 0
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (see close)

    def write(self, block: np.ndarray) -> None:
        """Append an array.

        Raises:
            OSError: If the disk is full; the message names the folder.
        """
        block = np.ascontiguousarray(block, self._dtype)
        self._shapes.append(block.shape)
        self._size += block.nbytes
        with naming_a_full_disk(self._size):
            rest = block.reshape(-1).view(np.uint8).data
            while rest:  # an unbuffered file may take less than all
                rest = rest[self._file.write(rest) :]

    def read(self) -> Iterator[np.ndarray]:
        """Yield all arrays."""
        self._file.seek(0)
        for shape in self._shapes:
            yield np.fromfile(self._file, self._dtype, math.prod(shape)).reshape(shape)

    def close(self) -> None:
        """Free the disk space."""
        self._file.close()


def reserved_file(size: int) -> BinaryIO:
    """Return a temporary file whose disk space is reserved.

    Args:
        size: Bytes of disk space.

    Raises:
        OSError: If the disk is too full; the message names the folder.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        with naming_a_full_disk(size):
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError:
        file.close()
        raise
    return file  # pyright: ignore[reportReturnType]


@contextmanager
def naming_a_full_disk(size: int | None = None) -> Iterator[None]:
    """Say where there is no space for a temporary file, and what to do.

    Args:
        size: Bytes of the file, if they are known.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC or _REMEDY in str(error):
            raise
        of_size = "" if size is None else f" of {size / 2**30:.1f} GiB"
        raise OSError(
            errno.ENOSPC,
            f"{tempfile.gettempdir()} has no space for a temporary file{of_size}: {_REMEDY}",
        ) from error
