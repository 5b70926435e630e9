"""Tags of photographs: from `tags.jsonl` in their folder, or from `a.txt` next to `a.jpg`."""

import json
from pathlib import Path

TAGS = "tags.jsonl"
"""Name of the list of tags in a folder of photographs.

It has one line per photograph, such as `{"file": "sea/a.png", "tags": ["sea", "pier"]}`; the path
is relative to the folder.
"""


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


def listed_tags(folder: Path, name: str = TAGS) -> dict[str, tuple[str, ...]]:
    """Return the tags in the list of tags of a folder, by path relative to the folder.

    Args:
        folder: The folder. Without a list of tags in it, the result is empty.
        name: Name of the list of tags.

    Raises:
        ValueError: The list is damaged, see `read_listed`.
    """
    return read_listed(folder / name) if (folder / name).is_file() else {}


def read_listed(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the tags in a list of tags, by the path that the list gives.

    Raises:
        ValueError: A line has not the form that `TAGS` documents, or a file is listed twice.
    """
    tags: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line.decode("utf-8"))
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
    """Return the comma-separated tags in a photograph's sidecar file, the `.txt` next to it.

    Without such a file there are no tags.
    """
    try:
        return tidy_tags(photograph.with_suffix(".txt").read_text("utf-8", "replace"))
    except OSError:
        return ()


class FolderTags:
    """A function that returns the tags of a photograph below a folder.

    The tags come from the folder's `tags.jsonl`, or, for a photograph that is not listed there,
    from the `.txt` next to it.

    Args:
        folder: The folder.
        name: Name of the list of tags.

    Attributes:
        listed: The tags in the list, by path relative to the folder.

    Raises:
        ValueError: The list of tags is damaged.
    """

    def __init__(self, folder: Path, name: str = TAGS) -> None:
        self.folder = folder
        self.listed = listed_tags(folder, name)

    def __call__(self, photograph: Path) -> tuple[str, ...]:
        """Return the tags of a photograph."""
        listed = self.listed.get(photograph.relative_to(self.folder).as_posix())
        return sidecar_tags(photograph) if listed is None else listed
