"""Random access to training photographs, whatever lies in the folders and shards."""

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

_NAMED = 10  # photographs named in a warning; of the others the number is told


def open_index(
    entry: str, cache: Path | None = None, tags_file: str = TAGS
) -> FileIndex | ShardIndex:
    """Index one entry of an `ImageSource`.

    Raises:
        ValueError: If it does not exist, or is a folder of both shards and photographs.
    """
    path = Path(entry)
    shards = path.is_dir() and any(not shard.name.startswith(".") for shard in path.glob("*.tar"))
    if shards and find_images(path, recursive=False):
        raise ValueError(
            f"{entry} holds both shards (.tar) and photographs: name the shards by a pattern, or move either away"
        )
    return (
        ShardIndex.open(entry)
        if shards or path.suffix == ".tar"
        else FileIndex(entry, cache or default_cache(), tags_file)
    )


class ImageSource:
    """The readable photographs of some folders and shards, with their tags.

    A photograph whose header cannot be read, or that is too small, is named in a warning and left out. One that turns out to be
    damaged later is named, once per process, and replaced by the next good one, so that its place in the data stream stays filled the same
    way on every rank.

    Args:
        entries: Folders, files, manifests (`.txt`, one path per line), `bundled:SPLIT`, and folders or patterns of WebDataset
            shards (`.tar`).
        min_side: Smallest side in pixels that a photograph must have.
        cache_gib: Photographs are decoded here and now, and kept, until they fill this much memory in GiB; worker processes
            share it, other ranks have their own. The rest is decoded at every use.
        cache: Folder of remembered file indices; None is `$XDG_CACHE_HOME/linearsr` or `~/.cache/linearsr`.
        tags_file: Name of the list of tags in a folder; shards bring their own tags.

    Attributes:
        lengths: Number of photographs of each entry; the photographs of an entry follow one another.

    Raises:
        ValueError: If an entry does not exist, or no photograph is left.
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
        self._places = np.stack(
            [
                np.repeat(np.arange(len(chosen)), self.lengths),
                np.concatenate(chosen or [np.arange(0)]),
            ],
            1,
        )
        room = cache_gib * 2**30
        for index in range(len(self)):
            if room <= 0:
                break
            image = self._read(index)
            if image is not None:
                self._decoded[index] = image
                room -= image.nbytes
        if len(self._damaged) == len(self):
            raise ValueError(
                f"no readable photograph of at least {min_side} pixels a side in {', '.join(entries) or 'an empty list'}"
            )

    def __len__(self) -> int:
        return len(self._places)

    @property
    def sides(self) -> np.ndarray:
        """(N, 2) int32, heights and widths of the photographs in pixels."""
        sides = [
            self._indices[i].sides[self._places[self._places[:, 0] == i, 1]]
            for i in range(len(self._indices))
        ]
        return np.concatenate(sides)

    def texts(self) -> Iterator[str]:
        """Yield the tags of every photograph, separated by commas."""
        for index_of, member in map(self._place, range(len(self))):
            yield ", ".join(index_of.tags(member))

    def name(self, index: int) -> str:
        """Return the path of a photograph, or its shard and member."""
        index_of, member = self._place(index)
        return index_of.name(member)

    def __getitem__(self, index: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return photograph `index` as (H, W, 3) uint8, and its tags.

        Raises:
            ValueError: If every photograph has turned out to be damaged.
        """
        for candidate in range(index, index + len(self)):
            candidate %= len(self)
            image = self._decoded.get(candidate)
            image = self._read(candidate) if image is None else image
            if image is not None:
                index_of, member = self._place(candidate)
                return image, index_of.tags(member)
        raise ValueError("none of the photographs can be read any more")

    def _place(self, index: int) -> tuple[FileIndex | ShardIndex, int]:
        entry, member = self._places[index].tolist()
        return self._indices[entry], member

    def _read(self, index: int) -> np.ndarray | None:
        if index in self._damaged:
            return None
        index_of, member = self._place(index)
        try:
            return read_rgb8(EncodedImage(index_of.name(member), io.BytesIO(index_of.read(member))))
        except (ValueError, OSError) as error:  # also of a shard that was truncated since
            log.warning("replaced by its neighbour: %s", error)
            self._damaged.add(index)
            return None


def _large_enough(index: FileIndex | ShardIndex, min_side: int) -> np.ndarray:
    shorter = index.sides.min(1)
    small = np.flatnonzero((shorter > 0) & (shorter < min_side))
    for i in small[:_NAMED]:
        log.warning(
            "left out %s: shorter side %d is below %d pixels", index.name(i), shorter[i], min_side
        )
    if len(small) > _NAMED:
        log.warning("left out %d more photographs that are too small", len(small) - _NAMED)
    return np.flatnonzero(shorter >= min_side)
