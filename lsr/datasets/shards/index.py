"""Photographs in WebDataset tar shards, written by `lsr shard` or by others: an index, and reading one by its place."""

import bisect
import glob
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, groupby
from pathlib import Path

import numpy as np

from lsr.datasets.shards.scan import scan
from lsr.datasets.shards.table import UNKNOWN_CRC, ShardTable, load_tables, save_tables
from lsr.images import UnreadableImage
from lsr.progress_bar import progress_bar

log = logging.getLogger(__name__)

INDEX = "index.npz"
"""Name of the index that `lsr shard` writes beside its shards, after the last of them."""
PLAN = "shard-plan.json"
"""Name of the file with which `lsr shard` begins; without an index beside it the shards are not all there."""
CACHE = ".linearsr-index.npz"
"""Name of the index made by scanning the shards of others."""

_OPEN_SHARDS = 64


class ShardIndex:
    """Random access to the photographs of a set of shards; a million of them take some 110 MB.

    May be used by forked and spawned processes and by threads at once.

    Args:
        shards: The path of every shard and the samples in it.
    """

    def __init__(self, shards: Sequence[tuple[Path, ShardTable]]) -> None:
        self._shards = list(shards)
        self._ends = list(accumulate(len(table.offset) for _, table in self._shards))

    @classmethod
    def open(cls, location: str | Path) -> "ShardIndex":
        """Index the shards `*.tar` of a folder, or those that a pattern (`*`, `?`, `[...]`) names, in the order of their paths.

        Shards of `lsr shard` are known from the index beside them. Those of others are scanned once, header by header, and the result
        is kept beside them where that folder can be written to; a shard whose size or time has changed is scanned again. A
        photograph whose header cannot be read is named in a warning and left out.

        Raises:
            ValueError: There are no shards or no photographs in them; a shard is no tar archive, damaged or truncated; `lsr shard`
                has not finished; or a shard of its index is missing or has another size.
        """
        folder = Path(location) if Path(location).is_dir() else None
        named = (
            folder.iterdir()
            if folder
            else [Path(location)]
            if Path(location).exists()
            else map(Path, glob.glob(str(location)))
        )
        paths = [path for path in named if path.suffix == ".tar" and not path.name.startswith(".")]
        if not paths:
            raise ValueError(f"{location}: no shards (.tar) there")
        shards: list[tuple[Path, ShardTable]] = []
        for parent, members in groupby(
            sorted(paths, key=lambda path: (path.parent, path.name)), key=lambda path: path.parent
        ):
            shards += _tables(parent, list(members), all_of_folder=folder is not None)
        index = cls(shards)
        if not len(index):
            raise ValueError(f"{location}: no photographs in the {len(paths)} shards")
        return index

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def sides(self) -> np.ndarray:
        """(N, 2) int32, heights and widths of the upright photographs in pixels."""
        return np.concatenate([table.shape for _, table in self._shards])

    def _row(self, index: int) -> tuple[Path, ShardTable, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"photograph {index} of {len(self)}")
        shard = bisect.bisect_right(self._ends, index)
        path, table = self._shards[shard]
        return path, table, index - self._ends[shard] + len(table.offset)

    def _text(self, index: int) -> list[str]:
        _, table, row = self._row(index)
        return table.text[table.bounds[row] : table.bounds[row + 1]].tobytes().decode().split("\n")

    def name(self, index: int) -> str:
        """Return shard and member of a photograph, such as `shard-000003.tar:0004217_pier.jpg`."""
        return f"{self._row(index)[0].name}:{self._text(index)[0]}"

    def tags(self, index: int) -> tuple[str, ...]:
        """Return the tags of a photograph."""
        return tuple(self._text(index)[1:])

    def read(self, index: int) -> bytes:
        """Return the image file of a photograph.

        Raises:
            UnreadableImage: The bytes are not those that `lsr shard` wrote.
            ValueError: The shard has been truncated or replaced since it was indexed.
            OSError: The shard cannot be read.
        """
        path, table, row = self._row(index)
        start, size, crc = int(table.offset[row]), int(table.size[row]), int(table.crc[row])
        shard = _opened(path, table.bytes, table.mtime_ns)
        data = b""
        while len(data) < size and (
            part := os.pread(shard.descriptor, size - len(data), start + len(data))
        ):
            data += part
        if len(data) < size:
            raise ValueError(
                f"{path}: ends at byte {start + len(data)}, truncated since it was indexed"
            )
        if crc not in (UNKNOWN_CRC, zlib.crc32(data)):
            raise UnreadableImage(
                f"{self.name(index)}: not the bytes that were written to the shard (their CRC-32 differs)"
            )
        return data


class _OpenShard:
    """A file descriptor, closed with the last user. Reading at an offset leaves nothing that a forked process could disturb."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


@lru_cache(maxsize=_OPEN_SHARDS)
def _opened(path: Path, size: int, mtime_ns: int) -> _OpenShard:
    """Open a shard; the time in the key keeps an index made after a change from reading the file as it was before."""
    shard = _OpenShard(os.open(path, os.O_RDONLY))
    _check_size(path, os.fstat(shard.descriptor).st_size, size)
    return shard


def _check_size(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(
            f"{path}: {found} bytes instead of the {expected} in the index: truncated or replaced"
        )


def _tables(
    folder: Path, paths: Sequence[Path], all_of_folder: bool
) -> Iterator[tuple[Path, ShardTable]]:
    """Yield the samples of shards in one folder: from its index, its cache, or by scanning."""
    own = (
        {table.file: table for table in load_tables(folder / INDEX)}
        if (folder / INDEX).exists()
        else {}
    )
    if not own and (folder / PLAN).exists():
        raise ValueError(f"{folder}: lsr shard has not finished; run the same command again")
    missing = own.keys() - {path.name for path in paths}
    if missing and all_of_folder:
        raise ValueError(
            f"{folder / min(missing)}: missing, though {INDEX} names it ({len(missing)} of {len(own)} shards)"
        )
    states = {path: path.stat() for path in paths}
    for path in paths:
        if path.name in own:
            _check_size(path, states[path].st_size, own[path.name].bytes)
    foreign = [path for path in paths if path.name not in own]
    known = _scanned(folder, foreign, states) if foreign else {}
    for path in paths:
        yield (
            path,
            replace(own[path.name], mtime_ns=states[path].st_mtime_ns)
            if path.name in own
            else known[path.name],
        )


def _scanned(
    folder: Path, paths: Sequence[Path], states: dict[Path, os.stat_result]
) -> dict[str, ShardTable]:
    """Return the tables of the shards of others by name, and keep them beside the shards."""
    cache = folder / CACHE
    known: dict[str, ShardTable] = {}
    if cache.is_file():
        try:
            known = {table.file: table for table in load_tables(cache)}
        except ValueError as error:
            log.warning("%s: scanning again", error)
    states_known = {name: (table.bytes, table.mtime_ns) for name, table in known.items()}
    changed = [
        path
        for path in paths
        if states_known.get(path.name) != (states[path].st_size, states[path].st_mtime_ns)
    ]
    if not changed:
        return known

    with progress_bar("scanning shards", len(changed), "shards") as bar:
        for path in changed:
            state = states[path]
            known[path.name] = ShardTable.of(
                path.name, state.st_size, state.st_mtime_ns, list(scan(path))
            )
            bar.advance(1)
    try:
        save_tables(cache, [known[name] for name in sorted(known) if (folder / name).exists()])
    except OSError as error:
        log.warning(
            "%s cannot be written (%s): the shards will be scanned again next time",
            cache,
            error.strerror,
        )
    return known
