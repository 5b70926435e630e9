"""The sizes of photographs before these are read: to share them out, and for a progress bar."""

import time
from collections.abc import Sequence
from pathlib import Path

from lsr.images.decoding import probe
from lsr.images.opening import UnreadableImage

PATIENCE_S = 0.3
"""Seconds in which headers are read before the work begins."""


def probe_or_one_pixel(path: Path) -> tuple[int, int]:
    """Return (width, height) as `probe` does, and (1, 1) for a file that cannot be read.

    The command that reads the file later reports the failure.
    """
    try:
        return probe(path)
    except UnreadableImage:
        return 1, 1


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
        width, height = probe_or_one_pixel(self._paths[len(self._known)])
        self._known.append(width * height / 1e6)
        self._sum += self._known[-1]
