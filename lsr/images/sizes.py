"""The sizes of many photographs for a progress bar, without waiting for all of their headers."""

import time
from collections.abc import Sequence
from pathlib import Path

from lsr.images.reading import megapixels

PATIENCE_S = 0.3
"""Seconds in which headers are read before the work begins."""


class Sizes:
    """The sizes of photographs in megapixels.

    The headers of ten thousand photographs take seconds, and minutes on a slow disk. So those of
    the first ones are read before the work begins, and the others when their turn comes; until then
    a photograph counts as the mean of those that are known.

    Args:
        paths: Files of the photographs.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._known: list[float] = []
        self._sum = 0.0
        end = time.monotonic() + PATIENCE_S
        while len(self._known) < len(paths) and time.monotonic() < end:
            self._read_next()

    def __getitem__(self, number: int) -> float:
        """Return the size of a photograph; the headers of all before it are read too."""
        while len(self._known) <= number:
            self._read_next()
        return self._known[number]

    @property
    def total(self) -> float:
        """The sum of all sizes as far as they are known; 0 if none is."""
        return self._sum * len(self._paths) / max(1, len(self._known))

    def _read_next(self) -> None:
        size = megapixels(self._paths[len(self._known)])
        self._known.append(size)
        self._sum += size
