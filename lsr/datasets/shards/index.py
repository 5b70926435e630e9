"""Random access to photographs in WebDataset tar shards, of `lsr shard` or of other programs."""

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

from lsr.console.progress_bar import progress_bar
from lsr.datasets.shards.scan import scan
from lsr.datasets.shards.table import UNKNOWN_CRC, ShardTable, load_tables, save_tables
from lsr.images import UnreadableImage
from lsr.reading.left_out import LeftOut

log = logging.getLogger(__name__)

INDEX = "index.npz"
"""Name of the index that `lsr shard` writes to the folder of its shards after the last shard."""
PLAN = "shard-plan.json"
"""Name of the file that `lsr shard` writes first.

A folder that holds it but no index does not hold all shards yet.
"""
CACHE = ".linearsr-scan.npz"
"""Name of the index of scanned shards, which other programs wrote."""

_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")

_OPEN_SHARDS = 64


class ShardIndex:
    """Random access to the photographs of a set of shards.

    May be used by forked and spawned processes and by threads at once. The index of a million
    photographs takes about 110 MB of memory.

    Args:
        shards: The path of every shard, and the table of its samples.
    """

    def __init__(self, shards: Sequence[tuple[Path, ShardTable]]) -> None:
        self._shards = list(shards)
        self._ends = list(accumulate(len(table.offset) for _, table in self._shards))

    @classmethod
    def open(cls, location: str | Path) -> "ShardIndex":
        """Return the index of shards, in the order of their paths.

        The tables of shards of `lsr shard` come from the index file in their folder. Shards of
        other programs are scanned once, header by header, and the result is written to their folder
        if possible; a shard whose size or time of modification has changed is scanned again. A
        photograph whose header cannot be read is left out with a warning.

        Args:
            location: A folder with shards `*.tar`, one shard, or a pattern of shards (with `*`, `?`
                or `[...]`).

        Raises:
            ValueError: There are no shards, or no photographs in them; a shard is not a tar
                archive, damaged or truncated; `lsr shard` has not finished; or a shard of its index
                is missing or has another size.
        """
        is_folder = Path(location).is_dir()
        paths = _shards_at(location)
        if not paths:
            raise ValueError(f"{location}: no shards (.tar files) found; check the path or pattern")
        shards: list[tuple[Path, ShardTable]] = []
        paths.sort(key=lambda path: (path.parent, path.name))
        for parent, members in groupby(paths, key=lambda path: path.parent):
            shards += _tables(parent, list(members), all_of_folder=is_folder)
        index = cls(shards)
        if not len(index):
            raise ValueError(
                f"{location}: the {len(paths)} shards hold no photographs that can be read"
            )
        return index

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def sides(self) -> np.ndarray:
        """(N, 2) int32, heights and widths of the upright photographs in pixels."""
        return np.concatenate([table.shape for _, table in self._shards])

    def _row(self, index: int) -> tuple[Path, ShardTable, int]:
        """Return the shard of a photograph, its table, and the photograph's row in the table."""
        if not 0 <= index < len(self):
            raise IndexError(f"photograph {index} of {len(self)}")
        shard = bisect.bisect_right(self._ends, index)
        path, table = self._shards[shard]
        return path, table, index - self._ends[shard] + len(table.offset)

    def _text(self, index: int) -> list[str]:
        """Return the name of a photograph's member and the photograph's tags."""
        _, table, row = self._row(index)
        return table.text[table.bounds[row] : table.bounds[row + 1]].tobytes().decode().split("\n")

    def name(self, index: int) -> str:
        """Return shard and member of a photograph, such as `shard-000003.tar:0004217_pier.jpg`."""
        return f"{self._row(index)[0].name}:{self._text(index)[0]}"

    def tags(self, index: int) -> tuple[str, ...]:
        """Return the tags of a photograph."""
        return tuple(self._text(index)[1:])

    def read(self, index: int) -> bytes:
        """Return the bytes of a photograph's image file.

        Raises:
            UnreadableImage: The bytes differ from those that `lsr shard` wrote.
            ValueError: The shard has been truncated or replaced since it was indexed.
            OSError: The shard cannot be read.
        """
        path, table, row = self._row(index)
        start = int(table.offset[row])
        size = int(table.size[row])
        crc = int(table.crc[row])
        shard = _opened(path, table.bytes, table.mtime_ns)
        data = b""
        while len(data) < size and (
            part := os.pread(shard.descriptor, size - len(data), start + len(data))
        ):
            data += part
        if len(data) < size:
            raise ValueError(
                f"{path}: ends at byte {start + len(data)}, truncated since it was indexed; copy "
                "this shard again"
            )
        if crc not in (UNKNOWN_CRC, zlib.crc32(data)):
            raise UnreadableImage(
                f"{self.name(index)}: damaged, its CRC-32 is not the one that lsr shard wrote; "
                "copy this shard again"
            )
        return data


class _OpenShard:
    """A file descriptor that is closed when its last user is gone.

    It is read with `os.pread`, which does not move the position that forked processes share.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


@lru_cache(maxsize=_OPEN_SHARDS)
def _opened(path: Path, size: int, mtime_ns: int) -> _OpenShard:
    """Open a shard, and check its size.

    The time of modification is part of the cache's key, so that an index of a changed shard does
    not read from the descriptor of the old file.
    """
    shard = _OpenShard(os.open(path, os.O_RDONLY))
    _check_size(path, os.fstat(shard.descriptor).st_size, size)
    return shard


def _check_size(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(
            f"{path}: {found} bytes instead of the {expected} in the index: truncated or replaced; "
            "copy this shard again"
        )


def _shards_at(location: str | Path) -> list[Path]:
    """Return the shards of a folder, of a pattern, or the one shard at a path."""
    path = Path(location)
    if path.is_dir():
        found = sorted(path.iterdir())
    elif path.exists():
        found = [path]
    else:
        found = [Path(name) for name in sorted(glob.glob(str(location)))]
    left_out = LeftOut(location)
    for path in found:
        if path.name.endswith(_COMPRESSED):
            left_out.add("compressed shards (unpack them to .tar)", path)
    left_out.tell(log)
    return [path for path in found if path.suffix == ".tar" and not path.name.startswith(".")]


def _tables(
    folder: Path, paths: Sequence[Path], all_of_folder: bool
) -> Iterator[tuple[Path, ShardTable]]:
    """Yield each shard with its table: from the index of `lsr shard`, or by scanning.

    Args:
        folder: Folder of the shards.
        paths: The shards.
        all_of_folder: Whether `paths` are all shards of the folder, so that a shard of the index
            that is not among them is missing.
    """
    own: dict[str, ShardTable] = {}
    if (folder / INDEX).exists():
        try:
            own = {table.file: table for table in load_tables(folder / INDEX)}
        except ValueError as error:
            raise ValueError(f"{error}; run the same lsr shard command again") from None
    if not own and (folder / PLAN).exists():
        raise ValueError(
            f"{folder}: lsr shard has not finished; run the same lsr shard command again"
        )
    missing = own.keys() - {path.name for path in paths}
    if missing and all_of_folder:
        raise ValueError(
            f"{folder / min(missing)}: missing, though {INDEX} names it ({len(missing)} of "
            f"{len(own)} shards are missing); copy them, or run the same lsr shard command again"
        )
    states = {path: path.stat() for path in paths}
    for path in paths:
        if path.name in own:
            _check_size(path, states[path].st_size, own[path.name].bytes)
    foreign = [path for path in paths if path.name not in own]
    scanned = _scanned(folder, foreign, states) if foreign else {}
    for path in paths:
        if path.name in own:
            yield path, replace(own[path.name], mtime_ns=states[path].st_mtime_ns)
        else:
            yield path, scanned[path.name]


def _scanned(
    folder: Path, paths: Sequence[Path], states: dict[Path, os.stat_result]
) -> dict[str, ShardTable]:
    """Return the tables of shards of other programs by name, and write them to `CACHE`.

    Only shards that are not in `CACHE`, or that have changed since, are scanned.

    Args:
        folder: Folder of the shards.
        paths: The shards.
        states: Size and time of modification of each shard.
    """
    cache = folder / CACHE
    known: dict[str, ShardTable] = {}
    if cache.is_file():
        try:
            known = {table.file: table for table in load_tables(cache)}
        except ValueError as error:
            log.warning("%s; the shards are scanned again", error)
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
