"""Finding image files below a folder."""

import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from lsr.files import check_folder
from lsr.images.reading import FOREIGN_SUFFIXES, IMAGE_SUFFIXES
from lsr.reading.left_out import LeftOut

log = logging.getLogger(__name__)

RESULT_FILES = frozenset({"upscaled.jsonl", "evaluation.json", "degradation.json"})
"""Files that `lsr upscale`, `lsr eval` and `lsr degrade` write into a folder of their results."""


def find_images(
    folder: Path, recursive: bool = True, suffixes: Collection[str] = IMAGE_SUFFIXES
) -> list[Path]:
    """Return the image files below a folder, sorted by path.

    Links to folders are followed, but every folder is searched once. Hidden files and folders are
    skipped. Left out and told in warnings are: folders inside `folder` with results of our own
    commands, folders that are linked twice, links without a target, and images of formats that
    cannot be read.

    Args:
        folder: The folder.
        recursive: Whether to search the folders inside it too.
        suffixes: Suffixes of image files, in lower case and with their dot.

    Raises:
        ValueError: `folder` is not a folder.
    """
    check_folder(folder)
    left_out = LeftOut(folder)
    found: list[Path] = []
    for entry in _files(folder, recursive, left_out):
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix not in suffixes:
            if suffix in FOREIGN_SUFFIXES:
                left_out.add("images of formats that are not read", entry.path)
        elif entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path):
            found.append(Path(entry.path))
        elif entry.is_symlink():
            left_out.add("links whose target is missing", entry.path)
    left_out.tell(log)
    return sorted(found)


def _files(folder: Path, recursive: bool, left_out: LeftOut) -> Iterator[os.DirEntry[str]]:
    """Yield what is not hidden and not a folder below a folder.

    Folders that are linked come last: what can be found without the link has its own path.
    """
    searched = {_identity(folder)}
    folders = [os.fspath(folder)]
    links: list[str] = []
    while folders or links:
        linked = not folders
        place = links.pop(0) if linked else folders.pop()
        if linked and _identity(place) in searched:
            left_out.add("links to folders that are searched already", place)
            continue
        searched.add(_identity(place))
        with os.scandir(place) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        if place != os.fspath(folder) and not RESULT_FILES.isdisjoint(e.name for e in entries):
            left_out.add("folders of our own results (name such a folder to use it)", place)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # os.path returns False for a link that leads to itself, for which `entry` raises.
            is_link = entry.is_symlink()
            if not (os.path.isdir(entry.path) if is_link else entry.is_dir()):
                yield entry
            elif recursive:
                (links if is_link else folders).append(entry.path)


def _identity(folder: str | Path) -> tuple[int, int]:
    state = os.stat(folder)
    return state.st_dev, state.st_ino
