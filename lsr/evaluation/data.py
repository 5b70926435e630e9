"""What is evaluated: LR photographs, the HR photographs they belong to, and the files of the results."""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lsr.datasets.paired_folders import (
    FOLDERS,
    find_pairs,
    images_by_name,
    paired_folders,
    stem_without_role,
)
from lsr.datasets.tags import FolderTags
from lsr.images import UnreadableImage, probe
from lsr.images.outputs import collect


@dataclass(frozen=True)
class Item:
    """A photograph and its result.

    Attributes:
        name: Of the LR photograph, relative to its folder and without suffix.
        lr: Its file.
        hr: The file of the HR photograph, None where there is none.
        sr: The file of the result; None for a prediction that is missing.
        inputs: The first 16 digits of the SHA-256 of all files, and tags, that were there before the evaluation.
        tags: What is in the LR photograph, for a model that tags guide; empty where the result is a prediction.
        size: Width and height that the result is to be upsampled to; None where it is made otherwise.
        originals: SHA-256 of the LR and of the HR file one after the other, for the `inputs` of other results of the same photograph.
    """

    name: str
    lr: Path
    hr: Path | None
    sr: Path | None
    inputs: str
    tags: str = ""
    size: tuple[int, int] | None = None
    originals: bytes = b""


def find_items(data: Path, targets: Path | None, predictions: Path | None, out: Path) -> list[Item]:
    """Find what is to be evaluated, sorted by name.

    Args:
        data: LR photographs, or a data set with an LR and an HR folder, see `lsr.datasets.paired_folders`.
        targets: HR photographs; `data` has the LR photographs then.
        predictions: Results of someone else, named like the LR or the HR photographs; None where a model makes them.
        out: Folder for the results that a model makes.

    Raises:
        ValueError: If there are no photographs, a pair is not complete, no prediction belongs to one, or a `tags.jsonl` is damaged.
    """
    if targets is None and any((data / lr).is_dir() and (data / hr).is_dir() for lr, hr in FOLDERS):
        data, targets = paired_folders(data)
    made = collect([data], out)
    partners = {} if targets is None else dict(find_pairs(data, targets))
    names = {lr: target.relative_to(out).with_suffix("").as_posix() for lr, target in made}
    tags_of = FolderTags(data) if predictions is None else lambda photograph: ()
    items = []
    for lr, sr in sorted(made, key=lambda pair: names[pair[0]]):
        hr, tags = partners.get(lr), ", ".join(tags_of(lr))
        originals = _contents([lr, hr])
        items.append(
            Item(names[lr], lr, hr, sr, _digest(tags, originals), tags, originals=originals)
        )
    return items if predictions is None else predicted_items(items, predictions)


def predicted_items(items: Sequence[Item], folder: Path) -> list[Item]:
    """Return the same photographs with the results that someone else has made of them.

    Args:
        items: From `find_items`.
        folder: Results, named like the LR or the HR photographs; `sr` is None where there is none.

    Raises:
        ValueError: If no result belongs to one of them.
    """
    results = _predicted([(item.lr, item.name) for item in items], folder)
    return [
        replace(
            item,
            sr=results.get(item.lr),
            inputs=_digest("", item.originals + _contents([results.get(item.lr)])),
            tags="",
        )
        for item in items
    ]


def upsampled_items(items: Sequence[Item], scale: int | None, folder: Path) -> list[Item]:
    """Return the same photographs with results that are upsampled instead, as large as those that they are to stand beside.

    Args:
        items: From `find_items`.
        scale: Of the model that makes their results; None where these are there, and tell the size.
        folder: Where the upsampled ones go; `sr` is None where no size can be told, because the other result cannot be had either.
    """
    sizes = [_size_of_result(item, scale) for item in items]
    return [
        replace(
            item,
            sr=size and folder / f"{item.name}.png",
            inputs=_digest(f"{size}", item.originals),
            tags="",
            size=size,
        )
        for item, size in zip(items, sizes, strict=True)
    ]


def _size_of_result(item: Item, scale: int | None) -> tuple[int, int] | None:
    with contextlib.suppress(UnreadableImage):
        if scale is not None:
            width, height = probe(item.lr)
            return scale * width, scale * height
        if item.sr is not None:
            return probe(item.sr)
    return None


def _predicted(names: Sequence[tuple[Path, str]], folder: Path) -> dict[Path, Path]:
    """Return the prediction of each LR photograph that has one."""
    files = images_by_name(folder, plain=True)
    found = {lr: files[name] for lr, name in names if name in files}
    if not found:
        files = images_by_name(folder, plain=False)
        found = {
            lr: files[stem_without_role(name)]
            for lr, name in names
            if stem_without_role(name) in files
        }
    if not found:
        raise ValueError(
            f"{folder}: no prediction there is named like one of the {len(names)} LR photographs, such as {names[0][1]}"
        )
    return found


def _contents(paths: Sequence[Path | None]) -> bytes:
    """Return the SHA-256 of each file that is there, one after the other."""
    digests = []
    for path in paths:
        if path is not None:
            # A file that cannot be opened is named when its turn comes.
            with contextlib.suppress(OSError):
                digests.append(hashlib.sha256(path.read_bytes()).digest())
    return b"".join(digests)


def _digest(words: str, contents: bytes) -> str:
    return hashlib.sha256(words.encode() + contents).hexdigest()[:16]
