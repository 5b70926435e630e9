"""Tags beside photographs: `tags.jsonl` in a folder, or `photo.txt` beside `photo.jpg`."""

import json
from pathlib import Path

TAGS = "tags.jsonl"
"""Name of the list of tags: one line `{"file": "sea/a.png", "tags": ["sea", "pier"]}` per photograph, relative to its folder."""


def tidy_tags(value: object) -> tuple[str, ...]:
    """Return the tags in comma-separated text, or in a list of such texts; none for anything else.

    Superfluous blanks go, and what no file can hold: NUL and halves of surrogate pairs, which JSON can.
    """
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    tags = (
        tag for text in texts if isinstance(text, str) for tag in text.replace("\0", " ").split(",")
    )
    tidy = (" ".join(tag.split()).encode("utf-8", "replace").decode() for tag in tags)
    return tuple(tag for tag in tidy if tag)


def listed_tags(folder: Path, name: str = TAGS) -> dict[str, tuple[str, ...]]:
    """Return what the list of tags in a folder says, by relative name; nothing where there is no such file.

    Raises:
        ValueError: As `read_listed`.
    """
    return read_listed(folder / name) if (folder / name).is_file() else {}


def read_listed(path: Path) -> dict[str, tuple[str, ...]]:
    """Return what a list of tags says, by name.

    Raises:
        ValueError: A line is not of the form of `TAGS`, or names a file again.
    """
    tags: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line.decode("utf-8"))
            name, value = str(entry["file"]), entry["tags"]
            if not isinstance(value, list | str):
                raise TypeError(value)
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f'{path}, line {number}: not of the form {{"file": "a.png", "tags": ["sea"]}}'
            ) from None
        if name in tags:
            raise ValueError(f"{path}, line {number}: {name} for the second time")
        tags[name] = tidy_tags(value)
    return tags


def tags_beside(photograph: Path) -> tuple[str, ...]:
    """Return the comma-separated tags in the `.txt` beside a photograph; none where there is no such file."""
    try:
        return tidy_tags(photograph.with_suffix(".txt").read_text("utf-8", "replace"))
    except OSError:
        return ()


class FolderTags:
    """The tags of the photographs below a folder, from its `tags.jsonl`, else from the `.txt` beside each.

    Args:
        folder: The folder.
        name: Of the list, if not `tags.jsonl`.

    Attributes:
        listed: What `tags.jsonl` says, by relative name.

    Raises:
        ValueError: If its `tags.jsonl` is damaged.
    """

    def __init__(self, folder: Path, name: str = TAGS) -> None:
        self.folder, self.listed = folder, listed_tags(folder, name)

    def __call__(self, photograph: Path) -> tuple[str, ...]:
        """Return the tags of a photograph."""
        listed = self.listed.get(photograph.relative_to(self.folder).as_posix())
        return tags_beside(photograph) if listed is None else listed
