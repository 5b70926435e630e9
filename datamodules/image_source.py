"""A list of photographs to draw from, whatever lies in the folders."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datamodules.bundled_photographs import bundled_photographs
from lsr.images import UnreadableImage, find_images, probe, read_rgb8

log = logging.getLogger(__name__)

BUNDLED = "bundled:"


def resolve_paths(entries: Sequence[str]) -> list[Path]:
    """Expand folders (searched recursively), files and `bundled:SPLIT` into image files, in a fixed order.

    Raises:
        ValueError: If an entry does not exist.
    """
    paths: list[Path] = []
    for entry in entries:
        if entry.startswith(BUNDLED):
            paths += bundled_photographs(entry.removeprefix(BUNDLED))
        elif Path(entry).is_dir():
            paths += find_images(Path(entry))
        elif Path(entry).is_file():
            paths.append(Path(entry))
        else:
            raise ValueError(f"{entry}: no such folder or image")
    return paths


class ImageSource:
    """Random access to the readable photographs of some folders.

    A file whose header cannot be read, or that is too small, is named in a warning and left out. A file that turns out to be
    damaged later is named once and replaced by the next good one, so that its place in the data stream stays filled the same
    way on every rank.

    Args:
        entries: Folders, files and `bundled:SPLIT`.
        min_side: Smallest side in pixels that a photograph must have.
        cache_gib: Photographs are decoded here and now, and kept, until they fill this much memory in GiB; worker processes
            share it. The rest is decoded at every use.

    Raises:
        ValueError: If no photograph is left.
    """

    def __init__(self, entries: Sequence[str], min_side: int, cache_gib: float = 1.0) -> None:
        self._decoded: dict[int, np.ndarray] = {}
        self._damaged: set[int] = set()
        self.paths: list[Path] = []
        for path in resolve_paths(entries):
            try:
                side = min(probe(path))
            except UnreadableImage as error:
                log.warning("left out %s", error)
                continue
            if side < min_side:
                log.warning("left out %s: shorter side %d is below %d pixels", path, side, min_side)
                continue
            self.paths.append(path)
        room = cache_gib * 2**30
        for index in range(len(self.paths)):
            if room <= 0:
                break
            image = self._read(index)
            if image is not None:
                self._decoded[index] = image
                room -= image.nbytes
        if len(self._damaged) == len(self.paths):
            raise ValueError(f"no readable photograph of at least {min_side} pixels a side in {', '.join(entries) or 'an empty list'}")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return photograph `index` as (H, W, 3) uint8.

        Raises:
            ValueError: If every photograph has turned out to be damaged.
        """
        for candidate in range(index, index + len(self.paths)):
            candidate %= len(self.paths)
            image = self._decoded.get(candidate)
            image = self._read(candidate) if image is None else image
            if image is not None:
                return image
        raise ValueError("none of the photographs can be read any more")

    def _read(self, index: int) -> np.ndarray | None:
        if index in self._damaged:
            return None
        try:
            return read_rgb8(self.paths[index])
        except UnreadableImage as error:
            log.warning("replaced by its neighbour: %s", error)
            self._damaged.add(index)
            return None
