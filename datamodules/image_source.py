"""Random access to the training photographs in folders, manifests and shards."""

import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from datamodules.file_index import FileIndex
from lsr.datasets.shards.index import ShardIndex
from lsr.datasets.tags import TAGS
from lsr.files import default_cache
from lsr.images import EncodedImage, find_images, read_rgb8

log = logging.getLogger(__name__)

_MAX_WARNINGS = 10
"""Photographs that are too small and are named in a warning each; of the others only the number."""


def open_index(
    entry: str, cache: Path | None = None, tags_file: str = TAGS
) -> FileIndex | ShardIndex:
    """Return the index of one entry of an `ImageSource`; the arguments are the same.

    Raises:
        ValueError: The entry does not exist, or is a folder with both shards and photographs.
    """
    path = Path(entry)
    shards = path.is_dir() and any(not shard.name.startswith(".") for shard in path.glob("*.tar"))
    if shards and find_images(path, recursive=False):
        raise ValueError(
            f"{entry} holds both shards (.tar) and photographs: name the shards by a pattern such "
            "as *.tar, or move either away"
        )
    if shards or path.suffix == ".tar":
        return ShardIndex.open(entry)
    return FileIndex(entry, cache or default_cache(), tags_file)


class ImageSource:
    """The readable photographs of some folders and shards, with their tags.

    A photograph is left out with a warning if its header cannot be read or if it is too small. A
    photograph that turns out to be damaged when it is decoded is named in a warning, once per
    process, and replaced by the next good one; so the stream of samples stays the same on every
    rank.

    Args:
        entries: Folders, image files, manifests (`.txt`, one path per line), `bundled:SPLIT`, and
            folders or patterns of WebDataset shards (`.tar`).
        min_side: Smallest side in pixels that a photograph must have.
        cache_gib: Memory in GiB that is filled with decoded photographs now; the other photographs
            are decoded at every use. Worker processes share this memory, ranks do not.
        cache: Folder of the cache files of `FileIndex`; None is `$XDG_CACHE_HOME/linearsr` or
            `~/.cache/linearsr`.
        tags_file: Name of the list of tags in a folder; shards bring their own tags.

    Attributes:
        lengths: Number of photographs of each entry. The photographs of an entry are numbered one
            after the other, in the order of the entries.

    Raises:
        ValueError: An entry does not exist, or no photograph is left.
    """

    def __init__(
        self,
        entries: Sequence[str],
        min_side: int,
        cache_gib: float = 1.0,
        cache: Path | None = None,
        tags_file: str = TAGS,
    ) -> None:
        self._decoded: dict[int, np.ndarray] = {}
        self._damaged: set[int] = set()
        self._indices = [open_index(entry, cache, tags_file) for entry in entries]
        chosen = [_large_enough(index, min_side) for index in self._indices]
        self.lengths = [len(members) for members in chosen]
        # For each photograph the number of its entry, and its number in the index of that entry.
        numbers_of_entries = np.repeat(np.arange(len(chosen)), self.lengths)
        members = np.concatenate(chosen or [np.arange(0)])
        self._places = np.stack([numbers_of_entries, members], 1)
        self._fill_memory(cache_gib * 2**30)
        if len(self._damaged) == len(self):
            raise ValueError(
                f"no readable photograph of at least {min_side} pixels a side in "
                f"{', '.join(entries) or 'an empty list'}; see the warnings above"
            )

    def _fill_memory(self, room: float) -> None:
        """Decode photographs in order until they take at least `room` bytes."""
        for index in range(len(self)):
            if room <= 0:
                break
            image = self._read(index)
            if image is not None:
                self._decoded[index] = image
                room -= image.nbytes

    def __len__(self) -> int:
        return len(self._places)

    @property
    def sides(self) -> np.ndarray:
        """(N, 2) int32, heights and widths of the photographs in pixels."""
        entries, members = self._places.T
        return np.concatenate(
            [index.sides[members[entries == i]] for i, index in enumerate(self._indices)]
        )

    def texts(self) -> Iterator[str]:
        """Yield the tags of every photograph, separated by commas."""
        for index in range(len(self)):
            entry, member = self._place(index)
            yield ", ".join(entry.tags(member))

    def name(self, index: int) -> str:
        """Return the path of a photograph, or its shard and member."""
        entry, member = self._place(index)
        return entry.name(member)

    def __getitem__(self, index: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return a photograph, or the next good one for a damaged one, and its tags.

        Returns:
            The photograph (H, W, 3) uint8, and the tags.

        Raises:
            ValueError: Every photograph has turned out to be damaged.
        """
        for candidate in range(index, index + len(self)):
            candidate %= len(self)
            image = self._decoded.get(candidate)
            if image is None:
                image = self._read(candidate)
            if image is not None:
                return image, self._tags(candidate)
        raise ValueError("every photograph is damaged: see the warnings above for each")

    def _tags(self, index: int) -> tuple[str, ...]:
        """Return the tags of a photograph; none if their file is no text, which `texts` refuses."""
        entry, member = self._place(index)
        try:
            return entry.tags(member)
        except ValueError:
            return ()

    def _place(self, index: int) -> tuple[FileIndex | ShardIndex, int]:
        """Return the index of a photograph's entry, and the photograph's number in it."""
        entry, member = self._places[index].tolist()
        return self._indices[entry], member

    def _read(self, index: int) -> np.ndarray | None:
        """Decode a photograph as (H, W, 3) uint8; return None if it is damaged."""
        if index in self._damaged:
            return None
        entry, member = self._place(index)
        try:
            return read_rgb8(EncodedImage(entry.name(member), io.BytesIO(entry.read(member))))
        except (ValueError, OSError) as error:  # ValueError: also a shard that has been truncated
            log.warning("replaced by the next photograph: %s", error)
            self._damaged.add(index)
            return None


def _large_enough(index: FileIndex | ShardIndex, min_side: int) -> np.ndarray:
    """Return the numbers of the photographs that are large enough; warn of the others."""
    shorter = index.sides.min(1)
    small = np.flatnonzero((shorter > 0) & (shorter < min_side))
    for i in small[:_MAX_WARNINGS]:
        log.warning(
            "left out %s: shorter side %d is below %d pixels", index.name(i), shorter[i], min_side
        )
    if len(small) > _MAX_WARNINGS:
        log.warning("left out %d more photographs that are too small", len(small) - _MAX_WARNINGS)
    return np.flatnonzero(shorter >= min_side)
