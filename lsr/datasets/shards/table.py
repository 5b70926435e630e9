"""Tables of the photographs in WebDataset shards, and the index file that holds them."""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsr.error_text import first_clause
from lsr.files import atomic_path

UNKNOWN_CRC = -1

_VERSION = 1
_ARRAYS = ("offset", "size", "shape", "crc", "text", "bounds")


class Sample(NamedTuple):
    """A photograph in a shard.

    Attributes:
        offset: Byte of the shard where the image file begins.
        size: Length of the image file in bytes.
        height: Height of the upright photograph in pixels.
        width: Width of the upright photograph in pixels.
        crc: CRC-32 of the image file, or `UNKNOWN_CRC`.
        member: Name of the image file in the shard.
        tags: Tags of the photograph.
    """

    offset: int
    size: int
    height: int
    width: int
    crc: int
    member: str
    tags: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ShardTable:
    """The N samples of one shard as arrays: 36 bytes and the text for each sample.

    Attributes:
        file: Name of the shard without its folder.
        bytes: Size of the shard.
        mtime_ns: Time of the shard's last modification, or 0 if the time must not be compared.
        offset: (N,) int64, bytes of the shard where the image files begin.
        size: (N,) uint32, lengths of the image files in bytes.
        shape: (N, 2) int32, heights and widths of the upright photographs in pixels.
        crc: (N,) int64, CRC-32 of the image files, or `UNKNOWN_CRC`.
        text: (T,) uint8, may be shared with other shards: for each sample the UTF-8 text of the
            member's name and the tags, separated by line feeds.
        bounds: (N + 1,) int64, where the samples begin in `text`, and where the last ends.
    """

    file: str
    bytes: int
    mtime_ns: int
    offset: np.ndarray
    size: np.ndarray
    shape: np.ndarray
    crc: np.ndarray
    text: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, file: str, size: int, mtime_ns: int, samples: Sequence[Sample]) -> "ShardTable":
        """Return the table of the samples of a shard.

        Args:
            file: Name of the shard without its folder.
            size: Size of the shard in bytes.
            mtime_ns: See `ShardTable.mtime_ns`.
            samples: The samples.
        """
        # Half of a surrogate pair, from a name or a JSON that is not UTF-8, becomes a question
        # mark.
        lines = [
            "\n".join([" ".join(s.member.split("\n")), *s.tags]).encode("utf-8", "replace")
            for s in samples
        ]
        return cls(
            file,
            size,
            mtime_ns,
            np.array([s.offset for s in samples], np.int64),
            np.array([s.size for s in samples], np.uint32),
            np.array([(s.height, s.width) for s in samples], np.int32).reshape(-1, 2),
            np.array([s.crc for s in samples], np.int64),
            np.frombuffer(b"".join(lines), np.uint8),
            np.array([0, *accumulate(map(len, lines))], np.int64),
        )


def save_tables(path: Path, tables: Sequence[ShardTable]) -> None:
    """Write an index file: a .npz without pickles, with equal bytes for equal tables."""
    starts = [0, *accumulate(int(t.bounds[-1] - t.bounds[0]) for t in tables)]
    bounds = [t.bounds[:-1] - t.bounds[0] + start for t, start in zip(tables, starts, strict=False)]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            version=np.array(_VERSION),
            files=np.frombuffer(json.dumps([t.file for t in tables]).encode(), np.uint8),
            bytes=np.array([t.bytes for t in tables], np.int64),
            mtime_ns=np.array([t.mtime_ns for t in tables], np.int64),
            count=np.array([len(t.offset) for t in tables], np.int64),
            offset=np.concatenate([t.offset for t in tables]),
            size=np.concatenate([t.size for t in tables]),
            shape=np.concatenate([t.shape for t in tables]),
            crc=np.concatenate([t.crc for t in tables]),
            text=np.concatenate([t.text[t.bounds[0] : t.bounds[-1]] for t in tables]),
            bounds=np.concatenate([*bounds, starts[-1:]]),
        )


def load_tables(path: Path) -> list[ShardTable]:
    """Read an index file; the tables are views of arrays that they share.

    Raises:
        ValueError: The file is missing, damaged, or of another version of LinearSR.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["version"] != _VERSION:
                raise ValueError(f"version {file['version']} instead of {_VERSION}")
            arrays = {name: file[name] for name in _ARRAYS}
            files = json.loads(file["files"].tobytes())
            sizes, times, counts = (file[name].tolist() for name in ("bytes", "mtime_ns", "count"))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        # numpy takes a file without the signature of a .npz for a pickle, and advises to load it.
        is_pickle = "allow_pickle" in str(error) or "pickled" in str(error)
        reason = "not an .npz file" if is_pickle else first_clause(error)
        raise ValueError(f"{path}: the index is damaged or of another version ({reason})") from None
    text = arrays.pop("text")
    bounds = arrays.pop("bounds")
    tables: list[ShardTable] = []
    end = 0
    for name, size, time, count in zip(files, sizes, times, counts, strict=True):
        start, end = end, end + count
        own = {key: array[start:end] for key, array in arrays.items()}
        tables.append(
            ShardTable(name, size, time, **own, text=text, bounds=bounds[start : end + 1])
        )
    return tables
