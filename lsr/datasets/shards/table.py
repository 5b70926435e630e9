"""The table of a WebDataset shard: where its photographs lie, how large they are and what is on them, and its file."""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsr.files import atomic_path

UNKNOWN_CRC = -1

_VERSION = 1


class Sample(NamedTuple):
    """A photograph of a shard: where its bytes lie, (height, width) upright in pixels, their CRC-32 or -1, its member, its tags."""

    offset: int
    size: int
    height: int
    width: int
    crc: int
    member: str
    tags: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ShardTable:
    """The N samples of one shard, compactly: 36 bytes and the text for each.

    Attributes:
        file: Name of the shard without its folder.
        bytes: Its size.
        mtime_ns: Its time of modification, 0 where that says nothing.
        offset: (N,) int64, where the images begin.
        size: (N,) uint32, their lengths in bytes.
        shape: (N, 2) int32, their heights and widths.
        crc: (N,) int64, CRC-32 of their bytes, -1 where unknown.
        text: (T,) uint8, may be shared with other shards: UTF-8 of the member's name and the tags, separated by line feeds.
        bounds: (N + 1,) int64, where in `text` the samples begin.
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
        """Pack samples."""
        # A lone surrogate, from a name or a JSON that is not UTF-8, becomes a question mark.
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
    """Write an index: a .npz without pickles, the same bytes for the same tables."""
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
    """Read an index; the tables are views of arrays that they share.

    Raises:
        ValueError: The file is missing, damaged, or of another version of LinearSR.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["version"] != _VERSION:
                raise ValueError(f"version {file['version']} instead of {_VERSION}")
            arrays = {
                name: file[name] for name in ("offset", "size", "shape", "crc", "text", "bounds")
            }
            files = json.loads(file["files"].tobytes())
            sizes, times, counts = (file[name].tolist() for name in ("bytes", "mtime_ns", "count"))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: not a usable index of shards ({' '.join(str(error).split())})"
        ) from None
    text, bounds = arrays.pop("text"), arrays.pop("bounds")
    ends = list(accumulate(counts))
    return [
        ShardTable(
            name,
            size,
            time,
            **{k: a[end - n : end] for k, a in arrays.items()},
            text=text,
            bounds=bounds[end - n : end + 1],
        )
        for name, size, time, n, end in zip(files, sizes, times, counts, ends, strict=True)
    ]
