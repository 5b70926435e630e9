"""Scanning WebDataset shards that come without an index.

A sample is a run of members whose names agree up to the first dot of the base name: `0042.jpg`, `0042.json`. Its image is the member
whose name goes on with nothing but the suffix of an image; its tags are the list (or the comma-separated text) under "tags" in
`.json`, else the comma-separated `.txt`.
"""

import json
import logging
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, cast

from lsr.datasets.shards.table import UNKNOWN_CRC, Sample
from lsr.datasets.tags import tidy_tags
from lsr.images import IMAGE_SUFFIXES, EncodedImage, UnreadableImage, probe

log = logging.getLogger(__name__)

_TEXT_LIMIT = 2**20  # bytes of a .json or .txt that is looked into for tags


def scan(path: Path) -> Iterator[Sample]:
    """Yield the samples of any WebDataset shard, reading no more than headers and tags.

    Raises:
        ValueError: The file is no uncompressed tar archive, is damaged, or ends early.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            members = (
                member
                for member in tar
                if member.isreg() and not member.issparse() and _split(member.name)[1]
            )
            for _, sample in groupby(members, key=lambda member: _split(member.name)[0]):
                yield from _sample(
                    path, tar, {_split(member.name)[1].lower(): member for member in sample}
                )
            # tarfile takes damage between two members, and an end between them, for the end of the archive.
            end = cast(BinaryIO, tar.fileobj)
            end.seek(tar.offset)
            if end.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no header and no end of archive at byte {tar.offset}")
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(
            f"{path}: not an uncompressed tar archive, or damaged or truncated ({error})"
        ) from None


def _split(member: str) -> tuple[str, str]:
    """Split a member's name into the key of its sample and the rest from the first dot of the base name on; no rest where hidden."""
    folder, _, base = member.rpartition("/")
    stem, dot, rest = base.partition(".")
    return f"{folder}/{stem}", dot + rest if stem else ""


def _sample(
    path: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]
) -> Iterator[Sample]:
    """Yield the sample that members by suffix make up, if there is an image among them that can be read."""
    image = next((member for suffix, member in members.items() if suffix in IMAGE_SUFFIXES), None)
    if image is None:
        return
    name = f"{path.name}:{image.name}"
    try:
        width, height = probe(EncodedImage(name, _content(tar, image)))
    except UnreadableImage as error:
        log.warning("left out %s", error)
        return
    tags = ()
    try:
        if ".json" in members:
            description = json.loads(_content(tar, members[".json"]).read(_TEXT_LIMIT))
            tags = tidy_tags(description.get("tags") if isinstance(description, dict) else None)
        if not tags and ".txt" in members:
            tags = tidy_tags(_content(tar, members[".txt"]).read(_TEXT_LIMIT).decode())
    except ValueError as error:
        log.warning("no tags for %s: %s", name, error)
    yield Sample(image.offset_data, image.size, height, width, UNKNOWN_CRC, image.name, tags)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    return cast(BinaryIO, tar.extractfile(member))  # None for folders and links alone
