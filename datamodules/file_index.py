"""Which photographs lie in a folder, how large they are and what their tags say; remembered, so that headers are read once."""

import hashlib
import logging
import os
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import numpy as np

from datamodules.bundled_photographs import bundled_photographs, bundled_tags
from lsr.datasets.tags import TAGS, listed_tags, tags_beside
from lsr.files import atomic_path
from lsr.images import UnreadableImage, find_images, probe
from lsr.progress_bar import progress_bar

log = logging.getLogger(__name__)

BUNDLED = "bundled:"

_PROBES = 8  # threads: headers are waited for, not computed


def resolve_paths(entry: str) -> list[Path]:
    """Expand a folder (searched recursively), an image, a manifest or `bundled:SPLIT` into image files, in a fixed order.

    A manifest is a `.txt` file with one image per line, relative to the manifest's own folder or absolute; empty lines and lines
    that start with `#` do not count.

    Raises:
        ValueError: If the entry does not exist.
    """
    path = Path(entry)
    if entry.startswith(BUNDLED):
        return bundled_photographs(entry.removeprefix(BUNDLED))
    if path.is_dir():
        return find_images(path)
    if path.is_file() and path.suffix == ".txt":
        lines = path.read_text("utf-8-sig", errors="surrogateescape").split("\n")
        return [
            path.parent / line
            for line in (line.rstrip("\r") for line in lines)
            if line.strip() and not line.startswith("#")
        ]
    if path.is_file():
        return [path]
    raise ValueError(f"{entry}: no such folder or image")


class FileIndex:
    """The photographs of one entry, with their sizes read from their headers.

    What was read once is kept in a file per entry, and believed for every photograph whose length and time of modification are
    the same: opening the entry again costs one `stat` per photograph, half a minute for a million. Afterwards a photograph takes its
    name, its tags and 17 bytes of memory.

    Args:
        entry: See `resolve_paths`.
        cache: Folder of remembered indices.
        tags_file: Name of the list of tags in the folder.

    Attributes:
        sides: (N, 2) int32, heights and widths in pixels; 0 where the header cannot be read.

    Raises:
        ValueError: If the entry or a photograph of a manifest does not exist, or its `tags.jsonl` is damaged.
    """

    def __init__(self, entry: str, cache: Path, tags_file: str = TAGS) -> None:
        paths = [os.path.abspath(path) for path in resolve_paths(entry)]
        tags = _tags(entry, paths, tags_file)
        self._text, self._bounds = _pack(
            ["\0".join([path, *(t or ())]) for path, t in zip(paths, tags, strict=True)]
        )
        self._listed = np.array([t is not None for t in tags], bool)
        self.sides = _sides(
            entry,
            paths,
            cache / f"{hashlib.sha256(os.fsencode(os.path.abspath(entry))).hexdigest()[:16]}.npz",
        )

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def _lines(self, index: int) -> list[str]:
        return (
            self._text[self._bounds[index] : self._bounds[index + 1]]
            .tobytes()
            .decode("utf-8", "surrogateescape")
            .split("\0")
        )

    def name(self, index: int) -> str:
        """Return the path of a photograph."""
        return self._lines(index)[0]

    def tags(self, index: int) -> tuple[str, ...]:
        """Return the tags of a photograph: from `tags.jsonl` of the entry's folder, else from the `.txt` beside the photograph."""
        path, *tags = self._lines(index)
        return tuple(tags) if self._listed[index] else tags_beside(Path(path))

    def read(self, index: int) -> bytes:
        """Return the file of a photograph.

        Raises:
            OSError: If it cannot be read.
        """
        return Path(self.name(index)).read_bytes()


def _tags(entry: str, paths: Sequence[str], tags_file: str) -> list[tuple[str, ...] | None]:
    """Return the listed tags of each photograph, None where there are none; files that are listed but not there are counted."""
    if entry.startswith(BUNDLED):
        return [bundled_tags(os.path.basename(path), tags_file) for path in paths]
    folder = os.path.abspath(entry if os.path.isdir(entry) else os.path.dirname(entry))
    listed = listed_tags(Path(folder), tags_file)
    names = [path.removeprefix(f"{folder}{os.sep}") for path in paths]
    unknown = listed.keys() - set(names)
    if unknown and os.path.isdir(entry):
        log.warning(
            "%d of %d files in %s/%s are not there, %s for one",
            len(unknown),
            len(listed),
            folder,
            tags_file,
            min(unknown),
        )
    return [listed.get(name) for name in names]


def _pack(lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [line.encode("utf-8", "surrogateescape") for line in lines]
    return np.frombuffer(b"".join(encoded), np.uint8), np.array(
        [0, *accumulate(map(len, encoded))], np.int64
    )


def _sides(entry: str, paths: Sequence[str], memory: Path) -> np.ndarray:
    """Return (N, 2) heights and widths, from memory where the files have not changed since."""
    stamps = np.array([_stamp(entry, path) for path in paths], np.int64).reshape(-1, 2)
    known = _recall(memory)
    nothing = (-1, -1, -1, -1)
    rows = np.array([known.get(path, nothing) for path in paths], np.int64).reshape(-1, 4)
    sides = np.where((rows[:, :2] == stamps).all(1, keepdims=True), rows[:, 2:], -1).astype(
        np.int32
    )
    new = np.flatnonzero(sides[:, 0] < 0)
    if not len(new):
        return sides
    # Decoding silences Pillow by the process's own list of warnings; what the threads leave of it does not matter.
    with (
        progress_bar(f"reading the headers of {entry}", len(new), "photographs") as bar,
        ThreadPoolExecutor(_PROBES) as pool,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", module=r"PIL\.")
        probed = pool.map(_probe, (paths[i] for i in new.tolist()))
        for i, size in zip(new.tolist(), probed, strict=True):
            sides[i] = size
            bar.advance(1)
    if not entry.startswith(BUNDLED) and (sides[new] > 0).any():
        # What cannot be read is named at every start, so it is not remembered.
        _remember(memory, paths, stamps, np.where(sides > 0, sides, -1))
    return sides


def _stamp(entry: str, path: str) -> tuple[int, int]:
    try:
        state = os.stat(path)
    except OSError as error:
        raise ValueError(f"{path}, of {entry}: {error.strerror}") from None
    return state.st_size, state.st_mtime_ns


def _probe(path: str) -> tuple[int, int]:
    try:
        width, height = probe(Path(path))
    except UnreadableImage as error:
        log.warning("left out %s", error)
        return 0, 0
    return height, width


def _recall(memory: Path) -> dict[str, tuple[int, int, int, int]]:
    try:
        with np.load(memory, allow_pickle=False) as file:
            paths = file["paths"].tobytes().decode("utf-8", "surrogateescape").split("\0")
            return dict(zip(paths, map(tuple, file["rows"].tolist()), strict=True))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return {}  # what is damaged is made again


def _remember(memory: Path, paths: Sequence[str], stamps: np.ndarray, sides: np.ndarray) -> None:
    try:
        with atomic_path(memory) as temporary, temporary.open("wb") as file:
            joined = "\0".join(paths).encode("utf-8", "surrogateescape")
            np.savez(
                file,
                paths=np.frombuffer(joined, np.uint8),
                rows=np.hstack([stamps, sides]).astype(np.int64),
            )
    except OSError as error:
        log.warning(
            "%s cannot be written (%s): the headers will be read again next time",
            memory,
            error.strerror,
        )
