"""Scanning WebDataset shards that come without an index.

A sample consists of members whose names agree up to the last dot of the base name: `0042.jpg`,
`0042.json`, or `IMG_2.1.png`, `IMG_2.1.txt`. Its image is the member with the suffix of an image.
If only one of the members that agree up to the first dot is an image, all of these are its sample.
Its tags are under "tags" in `.json`, as a list or as a comma-separated text, else in `.txt` or
`.caption`, as a comma-separated text.

WebDataset itself divides names at the first dot. So a picture that lies beside a photograph and
whose name goes on with a word, such as `0042.mask.png` beside `0042.jpg`, belongs to that
photograph and is left out.
"""

import json
import logging
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from lsr.datasets.shards.table import UNKNOWN_CRC, Sample
from lsr.datasets.tags import SIDECARS, tidy_tags
from lsr.errors import first_clause
from lsr.images import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, EncodedImage, UnreadableImage, probe
from lsr.reading.left_out import LeftOut
from lsr.reading.texts import decode_text

log = logging.getLogger(__name__)

_TEXT_LIMIT = 2**20
"""Bytes of a `.json` or `.txt` that are read in search of tags."""

_HIDDEN = ""
"""What stands for the name of hidden files."""

_MORE_OF_A_SAMPLE = re.compile(r"\.[A-Za-z]\w*")
"""The word between the first dot of a name and its suffix, such as `.mask` in `0042.mask.png`."""


def scan(path: Path) -> Iterator[Sample]:
    """Yield the samples of a WebDataset shard; only headers and tags are read.

    A sample whose image cannot be read is left out with a warning, and so are images in formats
    that are not read, links, and pictures that belong to a photograph.

    Raises:
        ValueError: The file is not an uncompressed tar archive, is damaged, or ends early.
    """
    left_out = LeftOut(path)
    try:
        with tarfile.open(path, "r:") as tar:
            # Programs may write all images first and their texts behind them, so a sample is not
            # looked for in neighbouring members alone.
            groups: dict[str, list[tarfile.TarInfo]] = {}
            for member in tar:
                groups.setdefault(_key(member.name), []).append(member)
            groups.pop(_HIDDEN, None)
            for group in groups.values():
                for members in _samples(group, left_out):
                    yield from _sample(path, tar, members)
            left_out.tell(log)
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


def _key(member: str) -> str:
    """Return the name of a member up to the first dot of its base name, or `_HIDDEN`."""
    folder, _, base = member.rpartition("/")
    stem = base.partition(".")[0]
    return f"{folder}/{stem}" if stem else _HIDDEN


def _samples(
    group: Sequence[tarfile.TarInfo], left_out: LeftOut
) -> Iterator[dict[str, tarfile.TarInfo]]:
    """Yield the members of each sample, by suffix, among the members with one `_key`."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in group:
        stem, suffix = os.path.splitext(member.name)
        suffix = suffix.lower()
        if suffix in FOREIGN_SUFFIXES:
            left_out.add("images of formats that are not read", member.name)
        elif member.isreg() and not member.issparse():
            members = samples.setdefault(stem, {})
            if suffix in IMAGE_SUFFIXES and _image(members) is not None:
                left_out.add("pictures with the name of another", member.name)
            else:
                members[suffix] = member
        elif suffix in IMAGE_SUFFIXES:
            left_out.add("links and sparse files", member.name)
    pictured = [members for members in samples.values() if _image(members) is not None]
    if len(pictured) == 1:  # `0.input.jpg` and `0.output.txt` are a sample too
        everything: dict[str, tarfile.TarInfo] = {}
        for members in (*samples.values(), *pictured):
            everything |= members
        yield everything
        return
    first = os.path.commonprefix(list(samples)).rstrip(".")
    whole = _image(samples.get(first, {})) is not None
    for stem, members in samples.items():
        image = _image(members)
        if whole and image and _MORE_OF_A_SAMPLE.fullmatch(stem.removeprefix(first)):
            left_out.add("pictures that belong to a photograph", image.name)
        elif image:
            yield members


def _image(members: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    return next((member for suffix, member in members.items() if suffix in IMAGE_SUFFIXES), None)


def _sample(
    path: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]
) -> Iterator[Sample]:
    """Yield one sample, or nothing if its image cannot be read.

    Args:
        path: The shard.
        tar: The same shard, open.
        members: Members of the sample by suffix.
    """
    image = _image(members)
    assert image is not None
    name = f"{path.name}:{image.name}"
    try:
        width, height = probe(EncodedImage(name, _content(tar, image)))
    except UnreadableImage as error:
        log.warning("left out %s", error)
        return
    tags = ()
    try:
        if ".json" in members:
            description = json.loads(_text(tar, members[".json"]))
            tags = tidy_tags(description.get("tags") if isinstance(description, dict) else None)
        for suffix in SIDECARS:
            if not tags and suffix in members:
                tags = tidy_tags(_text(tar, members[suffix]))
    except ValueError as error:
        files = f".json, {' or '.join(SIDECARS)}"
        log.warning("%s has no tags: its %s is damaged (%s)", name, files, first_clause(error))
    yield Sample(image.offset_data, image.size, height, width, UNKNOWN_CRC, image.name, tags)


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    return decode_text(_content(tar, member).read(_TEXT_LIMIT), member.name)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    return cast(BinaryIO, tar.extractfile(member))  # it is None only for folders and links
