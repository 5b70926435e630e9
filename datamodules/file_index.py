"""Index of photographs in files: their paths, sizes in pixels and tags.

The sizes are kept in a cache file, so that every header is read once.
"""

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
from lsr.console.progress_bar import progress_bar
from lsr.datasets.layouts import of_one_role
from lsr.datasets.tags import TAGS, FolderTags, sidecar_tags
from lsr.files import atomic_path
from lsr.images import UnreadableImage, find_images, probe
from lsr.reading.texts import decode_text

log = logging.getLogger(__name__)

BUNDLED = "bundled:"

_THREADS = 8
"""Threads that read headers. They wait for the disk most of the time, so the CPU is no limit."""

_UNKNOWN = -1
"""Height of a photograph whose header has to be read."""


def resolve_paths(entry: str) -> list[Path]:
    """Return the image files of an entry, in a fixed order.

    Args:
        entry: A folder (searched recursively; of a data set of pairs the HR photographs are taken),
            an image, a manifest, or `bundled:SPLIT`. A manifest is a `.txt` file with one image per
            line; a path is absolute, or relative to the folder of the manifest. Empty lines and
            lines that start with `#` are ignored.

    Raises:
        ValueError: The entry does not exist.
    """
    path = Path(entry)
    if entry.startswith(BUNDLED):
        return bundled_photographs(entry.removeprefix(BUNDLED))
    if path.is_dir():
        return of_one_role(find_images(path), path, "hr")
    if path.is_file() and path.suffix == ".txt":
        text = decode_text(path.read_bytes(), path, any_bytes=True)
        lines = [line.rstrip("\r") for line in text.split("\n")]
        return [path.parent / line for line in lines if line.strip() and not line.startswith("#")]
    if path.is_file():
        return [path]
    raise ValueError(f"{entry}: no such folder, image or list of images (.txt)")


class FileIndex:
    """The photographs of one entry, with their tags and sizes.

    The sizes are read from the headers and kept in one cache file per entry. A size from the cache
    is used if the length and the time of modification of the photograph have not changed: opening
    the entry again costs one `stat` per photograph, half a minute for a million. In memory, a
    photograph takes its name, its tags and 17 bytes.

    Args:
        entry: The photographs, see `resolve_paths`.
        cache: Folder of the cache files.
        tags_file: Name of the list of tags in the folder.

    Attributes:
        sides: (N, 2) int32, heights and widths in pixels; 0 for a header that cannot be read.

    Raises:
        ValueError: The entry or a photograph of a manifest does not exist, or the list of tags is
            damaged.
    """

    def __init__(self, entry: str, cache: Path, tags_file: str = TAGS) -> None:
        paths = [os.path.abspath(path) for path in resolve_paths(entry)]
        tags = _tags(entry, paths, tags_file)
        self._text, self._bounds = _pack(
            ["\0".join([path, *(t or ())]) for path, t in zip(paths, tags, strict=True)]
        )
        self._listed = np.array([t is not None for t in tags], bool)
        digest = hashlib.sha256(os.fsencode(os.path.abspath(entry))).hexdigest()
        self.sides = _sides(entry, paths, cache / f"{digest[:16]}.npz")

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def _strings(self, index: int) -> list[str]:
        """Return the path of a photograph, and the tags that a list gives for it."""
        text = self._text[self._bounds[index] : self._bounds[index + 1]]
        return text.tobytes().decode("utf-8", "surrogateescape").split("\0")

    def name(self, index: int) -> str:
        """Return the path of a photograph."""
        return self._strings(index)[0]

    def tags(self, index: int) -> tuple[str, ...]:
        """Return the tags of a photograph.

        They come from the list of tags in the folder, or, for a photograph that is not listed
        there, from the `.txt` next to it.
        """
        path, *tags = self._strings(index)
        return tuple(tags) if self._listed[index] else sidecar_tags(Path(path))

    def read(self, index: int) -> bytes:
        """Return the bytes of a photograph's file.

        Raises:
            OSError: The file cannot be read.
        """
        return Path(self.name(index)).read_bytes()


def _tags(entry: str, paths: Sequence[str], tags_file: str) -> list[tuple[str, ...] | None]:
    """Return the listed tags of each photograph, or None for a photograph that is not listed.

    A warning reports how many listed files do not exist.
    """
    if entry.startswith(BUNDLED):
        return [bundled_tags(os.path.basename(path), tags_file) for path in paths]
    folder = os.path.abspath(entry if os.path.isdir(entry) else os.path.dirname(entry))
    tags_of = FolderTags(Path(folder), tags_file)
    listed = tags_of.listed
    others = listed.keys() - {path.removeprefix(f"{folder}{os.sep}") for path in paths}
    unknown = [name for name in others if not os.path.exists(os.path.join(folder, name))]
    if unknown and os.path.isdir(entry):
        log.warning(
            "%s/%s: %d of its %d files do not exist, such as %s; their tags are not used",
            folder,
            tags_file,
            len(unknown),
            len(listed),
            min(unknown),
        )
    return [tags_of.from_list(Path(path)) for path in paths]


def _pack(lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return strings as one array of bytes (T,), and where each begins and the last ends (N + 1,).

    A million Python strings would take several times the memory, and their reference counts would
    make every worker process copy them.
    """
    encoded = [line.encode("utf-8", "surrogateescape") for line in lines]
    bounds = np.array([0, *accumulate(map(len, encoded))], np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), bounds


def _sides(entry: str, paths: Sequence[str], cache: Path) -> np.ndarray:
    """Return heights and widths (N, 2) int32 in pixels, and write new ones to the cache file.

    Args:
        entry: The entry, for messages.
        paths: The photographs.
        cache: The cache file.
    """
    stamps = np.array([_stamp(entry, path) for path in paths], np.int64).reshape(-1, 2)
    cached = _load(cache)
    absent = (-1, -1, -1, -1)
    rows = np.array([cached.get(path, absent) for path in paths], np.int64).reshape(-1, 4)
    unchanged = (rows[:, :2] == stamps).all(1, keepdims=True)
    sides = np.where(unchanged, rows[:, 2:], _UNKNOWN).astype(np.int32)
    new = np.flatnonzero(sides[:, 0] < 0)
    if not len(new):
        return sides
    # `probe` silences Pillow by changing the list of warning filters of the whole process. The
    # threads may leave that list in any state, so it is set here and restored at the end.
    with (
        progress_bar(f"reading the headers of {entry}", len(new), "photographs") as bar,
        ThreadPoolExecutor(_THREADS) as pool,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", module=r"PIL\.")
        probed = pool.map(_probe, (paths[i] for i in new.tolist()))
        for i, size in zip(new.tolist(), probed, strict=True):
            sides[i] = size
            bar.advance(1)
    if not entry.startswith(BUNDLED) and (sides[new] > 0).any():
        # Photographs that cannot be read are not cached, so that every start warns of them.
        _save(cache, paths, stamps, np.where(sides > 0, sides, _UNKNOWN))
    return sides


def _stamp(entry: str, path: str) -> tuple[int, int]:
    """Return length and time of modification of a photograph; ValueError if it is missing."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}, though {entry} lists it") from None
    return state.st_size, state.st_mtime_ns


def _probe(path: str) -> tuple[int, int]:
    """Return height and width of a photograph, or (0, 0) with a warning if it cannot be read."""
    try:
        width, height = probe(Path(path))
    except UnreadableImage as error:
        log.warning("left out %s", error)
        return 0, 0
    return height, width


def _load(cache: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return (length, time of modification, height, width) of each photograph in a cache file.

    A missing or damaged cache file gives an empty result; it will be written again.
    """
    try:
        with np.load(cache, allow_pickle=False) as file:
            paths = file["paths"].tobytes().decode("utf-8", "surrogateescape").split("\0")
            return dict(zip(paths, map(tuple, file["rows"].tolist()), strict=True))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return {}


def _save(cache: Path, paths: Sequence[str], stamps: np.ndarray, sides: np.ndarray) -> None:
    """Write a cache file, or warn if it cannot be written."""
    try:
        with atomic_path(cache) as temporary, temporary.open("wb") as file:
            joined = "\0".join(paths).encode("utf-8", "surrogateescape")
            np.savez(
                file,
                paths=np.frombuffer(joined, np.uint8),
                rows=np.hstack([stamps, sides]).astype(np.int64),
            )
    except OSError as error:
        log.warning(
            "the cache %s cannot be written (%s): the next run reads all sizes again",
            cache,
            error.strerror,
        )
