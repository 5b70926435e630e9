"""Tags of photographs: from `tags.jsonl` in their folder, or from `a.txt` next to `a.jpg`."""

import contextlib
import json
from pathlib import Path

from lsr.reading.texts import is_json, read_text

TAGS = "tags.jsonl"
"""Name of the list of tags in a folder of photographs.

It has one line per photograph, such as `{"file": "sea/a.png", "tags": ["sea", "pier"]}`; the path
is relative to the folder.
"""

SIDECARS = (".txt", ".caption")
"""Suffixes of the files next to a photograph that may hold its tags; the first that exists counts.
"""

Listed = dict[str, tuple[str, ...]]
"""The tags in a list of tags, by path relative to its folder."""


def tidy_tags(value: object) -> tuple[str, ...]:
    """Return the tags in a comma-separated text or a list of such texts.

    Any other value has no tags. Repeated blanks are removed, and so are characters that JSON can
    hold but a text file cannot: NUL becomes a blank, half of a surrogate pair a question mark.
    """
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    tags: list[str] = []
    for text in texts:
        if isinstance(text, str):
            for tag in text.replace("\0", " ").split(","):
                tags.append(" ".join(tag.split()).encode("utf-8", "replace").decode())
    return tuple(tag for tag in tags if tag)


def listed_tags(folder: Path, name: str = TAGS) -> Listed:
    """Return the tags in the list of tags of a folder, by path relative to the folder.

    Args:
        folder: The folder. Without a list of tags in it, the result is empty.
        name: Name of the list of tags.

    Raises:
        ValueError: The list is damaged, see `read_listed`.
    """
    return read_listed(folder / name) if (folder / name).is_file() else {}


def read_listed(path: Path) -> Listed:
    """Return the tags in a list of tags, by the path that the list gives.

    Raises:
        ValueError: The list is not text, a line has not the form that `TAGS` documents, or a file
            is listed twice.
    """
    tags: Listed = {}
    for number, line in enumerate(read_text(path, is_json).split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name = str(entry["file"])
            value = entry["tags"]
            if not isinstance(value, list | str):
                raise TypeError(value)
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f'{path}, line {number}: must have the form {{"file": "a.png", "tags": ["sea"]}}'
            ) from None
        if name in tags:
            raise ValueError(
                f"{path}, line {number}: {name} is listed for the second time; remove one line"
            )
        tags[name] = tidy_tags(value)
    return tags


def sidecar_tags(photograph: Path) -> tuple[str, ...]:
    """Return the comma-separated tags in a photograph's sidecar file, see `SIDECARS`.

    Without such a file there are no tags.

    Raises:
        ValueError: The file is not text, see `lsr.reading.texts.decode_text`.
    """
    for suffix in SIDECARS:
        with contextlib.suppress(OSError):
            return tidy_tags(read_text(photograph.with_suffix(suffix)))
    return ()


class FolderTags:
    """A function that returns the tags of a photograph below a folder.

    The tags come from the nearest list of tags that names the photograph: in its own folder, or in
    one of the folders above it, also above `folder`. A photograph that no list names has the tags
    in the sidecar file next to it.

    Args:
        folder: The folder.
        name: Name of the list of tags.

    Attributes:
        listed: The tags in the list of `folder` itself, by path relative to the folder.

    Raises:
        ValueError: A list of tags is damaged; also when the function is called.
    """

    def __init__(self, folder: Path, name: str = TAGS) -> None:
        self._name = name
        self._lists: dict[Path, Listed] = {}
        self._lists_above: dict[Path, list[tuple[Path, Listed]]] = {}
        self.listed = self._list(folder.absolute())

    def __call__(self, photograph: Path) -> tuple[str, ...]:
        """Return the tags of a photograph."""
        tags = self.from_list(photograph)
        return sidecar_tags(photograph) if tags is None else tags

    def from_list(self, photograph: Path) -> tuple[str, ...] | None:
        """Return the tags that a list gives for a photograph; None if no list names it."""
        path = photograph.absolute()
        if path.parent not in self._lists_above:
            lists = [(folder, self._list(folder)) for folder in path.parents]
            self._lists_above[path.parent] = [pair for pair in lists if pair[1]]
        for folder, listed in self._lists_above[path.parent]:
            tags = listed.get(path.relative_to(folder).as_posix())
            if tags is not None:
                return tags
        return None

    def _list(self, folder: Path) -> Listed:
        if folder not in self._lists:
            self._lists[folder] = listed_tags(folder, self._name)
        return self._lists[folder]
