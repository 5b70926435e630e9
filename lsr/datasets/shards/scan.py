"""Scanning WebDataset shards that come without an index.

A sample is a run of members whose names agree up to the first dot of the base name: `0042.jpg`,
`0042.json`. Its image is the member whose name continues with nothing but the suffix of an image.
Its tags are under "tags" in `.json`, as a list or as a comma-separated text, else in `.txt`, as a
comma-separated text.
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
from lsr.error_text import first_clause
from lsr.images import IMAGE_SUFFIXES, EncodedImage, UnreadableImage, probe

log = logging.getLogger(__name__)

_TEXT_LIMIT = 2**20
"""Bytes of a `.json` or `.txt` that are read in search of tags."""


def scan(path: Path) -> Iterator[Sample]:
    """Yield the samples of a WebDataset shard; only headers and tags are read.

    A sample whose image cannot be read is left out with a warning.

    Raises:
        ValueError: The file is not an uncompressed tar archive, is damaged, or ends early.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            members = (
                member
                for member in tar
                if member.isreg() and not member.issparse() and _split(member.name)[1]
            )
            for _, sample in groupby(members, key=lambda member: _split(member.name)[0]):
                by_suffix = {_split(member.name)[1].lower(): member for member in sample}
                yield from _sample(path, tar, by_suffix)
            # tarfile believes that the archive ends where a member is damaged or where the file
            # was cut between two members. A real end is a block of zeros.
            end = cast(BinaryIO, tar.fileobj)
            end.seek(tar.offset)
            if end.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no header and no end of archive at byte {tar.offset}")
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(
            f"{path}: a compressed, damaged or truncated tar file ({first_clause(error)}); "
            "unpack .tar.gz first, or copy the file again"
        ) from None


def _split(member: str) -> tuple[str, str]:
    """Split the name of a member at the first dot of its base name.

    Returns:
        The key of the sample, and the rest of the name from the dot on; the rest of a hidden file
        is empty.
    """
    folder, _, base = member.rpartition("/")
    stem, dot, rest = base.partition(".")
    return f"{folder}/{stem}", dot + rest if stem else ""


def _sample(
    path: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]
) -> Iterator[Sample]:
    """Yield one sample, or nothing if no member is an image that can be read.

    Args:
        path: The shard.
        tar: The same shard, open.
        members: Members of the sample by suffix.
    """
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
        log.warning("%s has no tags: its .json or .txt is damaged (%s)", name, first_clause(error))
    yield Sample(image.offset_data, image.size, height, width, UNKNOWN_CRC, image.name, tags)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    return cast(BinaryIO, tar.extractfile(member))  # it is None only for folders and links
