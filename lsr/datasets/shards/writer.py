"""Writing photographs and their tags into WebDataset tar shards with an index; a stopped run continues."""

import hashlib
import io
import json
import re
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lsr.datasets.shards.index import INDEX, PLAN
from lsr.datasets.shards.table import Sample, ShardTable, load_tables, save_tables
from lsr.datasets.tags import TAGS, FolderTags
from lsr.files import atomic_path
from lsr.images import UnreadableImage, find_images, probe
from lsr.progress_bar import progress_bar


class _Photograph(NamedTuple):
    """A readable photograph and the JSON that goes with it."""

    path: Path
    size: int
    mtime_ns: int
    height: int
    width: int
    tags: tuple[str, ...]
    description: bytes

    def room(self) -> int:
        """Return the bytes that image, JSON and their headers take in a shard."""
        return sum(
            tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE))
            for size in (self.size, len(self.description))
        )


def _survey(folder: Path) -> tuple[list[_Photograph], list[UnreadableImage]]:
    """Read the header and the tags of every photograph; returns those that can be read and the errors of the others."""
    paths = find_images(folder)
    if not paths:
        raise ValueError(f"{folder}: no images in this folder")
    tags_of = FolderTags(folder)
    unknown = tags_of.listed.keys() - {path.relative_to(folder).as_posix() for path in paths}
    if unknown:
        sys.stderr.write(
            f"{len(unknown)} of {len(tags_of.listed)} files in {folder / TAGS} are not there, {min(unknown)} for one\n"
        )
    found: list[_Photograph] = []
    failed: list[UnreadableImage] = []
    with progress_bar("reading headers", len(paths), "photographs") as bar:
        for path in paths:
            name = path.relative_to(folder).as_posix()
            try:
                width, height = probe(path)
                state = path.stat()
                tags = tags_of(path)
                text = json.dumps({"file": name, "height": height, "width": width, "tags": tags})
                found.append(
                    _Photograph(
                        path, state.st_size, state.st_mtime_ns, height, width, tags, text.encode()
                    )
                )
            except UnreadableImage as error:
                failed.append(error)
                bar.say(f"failed: {error}")
            bar.advance(1)
    if not found:
        raise ValueError(f"{folder}: none of the {len(paths)} images can be read")
    return found, failed


def _partition(
    photographs: Sequence[_Photograph], limit: float
) -> Iterator[list[tuple[str, _Photograph]]]:
    """Yield the photographs of each shard with their keys; one that is larger than the limit has a shard of its own."""
    shard: list[tuple[str, _Photograph]] = []
    room = 0
    for number, photograph in enumerate(photographs):
        if shard and room + photograph.room() > limit:
            yield shard
            shard, room = [], 0
        # The number tells equal names apart; nothing in a key may need an extended tar header or be taken for a suffix.
        shard.append(
            (f"{number:07d}_{re.sub('[^A-Za-z0-9-]+', '_', photograph.path.stem)[:60]}", photograph)
        )
        room += photograph.room()
    yield shard


def _claim(
    out: Path,
    source: Path,
    max_mib: float,
    photographs: Sequence[_Photograph],
    failed: Sequence[UnreadableImage],
) -> None:
    """Note in `out` what it is for, or check that it is for the same; remove what a killed run left.

    Raises:
        ValueError: The folder is for something else.
    """
    digest = hashlib.sha256()
    for photograph in photographs:
        digest.update(
            b"%d %d %s\n" % (photograph.size, photograph.mtime_ns, photograph.description)
        )
    plan = {
        "version": 1,
        "max_mib": max_mib,
        "photographs": len(photographs),
        "unreadable": len(failed),
        "sha256": digest.hexdigest(),
    }
    path = out / PLAN
    if path.exists():
        try:
            before = json.loads(path.read_text())
        except ValueError:
            before = {}
        if before.get("max_mib", max_mib) != max_mib:
            raise ValueError(
                f"{out} was begun with --max-mib {before['max_mib']:g}: continue with that, or choose another --out"
            )
        if before != plan:
            raise ValueError(
                f"{out} was begun when {source} held other photographs or tags: choose another --out, or delete that folder"
            )
    elif any(out.glob("*.tar")):
        raise ValueError(f"{out} holds shards that lsr shard did not begin: choose another --out")
    else:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(plan) + "\n")
    for leftover in out.glob(f".{'?' * 16}.tmp"):  # as atomic_path names them
        leftover.unlink()


def _whole(out: Path) -> dict[str, ShardTable]:
    """Return the tables of the shards that earlier runs completed, by name."""
    tables: dict[str, ShardTable] = {}
    for path in (out / INDEX, *out.glob("shard-*.npz")):
        try:
            tables |= {table.file: table for table in load_tables(path)}
        except ValueError:  # what is known of a shard from nowhere is written again
            continue
    return {
        name: table
        for name, table in tables.items()
        if (out / name).is_file() and (out / name).stat().st_size == table.bytes
    }


def _write(
    target: Path, photographs: Sequence[tuple[str, _Photograph]], advance: Callable[[int], None]
) -> ShardTable:
    """Write a shard under its name, complete or not at all.

    Raises:
        ValueError: A photograph has changed since the survey.
    """
    samples: list[Sample] = []
    with (
        atomic_path(target) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for key, photograph in photographs:
            data = photograph.path.read_bytes()
            if (len(data), photograph.path.stat().st_mtime_ns) != (
                photograph.size,
                photograph.mtime_ns,
            ):
                raise ValueError(
                    f"{photograph.path} changed while the shards were written: choose another --out and run again"
                )
            member = key + photograph.path.suffix.lower()
            place = tar.offset + tarfile.BLOCKSIZE
            samples.append(
                Sample(
                    place,
                    len(data),
                    photograph.height,
                    photograph.width,
                    zlib.crc32(data),
                    member,
                    photograph.tags,
                )
            )
            for name, content in ((member, data), (f"{key}.json", photograph.description)):
                header = tarfile.TarInfo(name)  # owner, group and time are 0
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
            advance(len(data))
    return ShardTable.of(target.name, target.stat().st_size, 0, samples)


def _write_missing(
    out: Path, shards: Sequence[Sequence[tuple[str, _Photograph]]]
) -> list[ShardTable]:
    """Write the shards that are not whole yet, then the index; each shard's own part of it is kept until then."""
    whole = _whole(out)
    targets = {out / f"shard-{number:06d}.tar": shard for number, shard in enumerate(shards)}
    missing = [target for target in targets if target.name not in whole]
    total = sum(photograph.size for target in missing for _, photograph in targets[target])
    with progress_bar("writing shards", total / 2**20, "MiB") as bar:
        for target in missing:
            whole[target.name] = _write(
                target, targets[target], lambda size: bar.advance(size / 2**20)
            )
            save_tables(target.with_suffix(".npz"), [whole[target.name]])
    tables = [whole[target.name] for target in targets]
    save_tables(out / INDEX, tables)
    for target in targets:
        target.with_suffix(".npz").unlink(missing_ok=True)
    return tables


def write_shards(
    source: Path, out: Path, max_bytes: float
) -> tuple[int, list[UnreadableImage], list[ShardTable]]:
    """Copy the photographs of a folder, byte for byte, into shards; a run that was stopped continues.

    Args:
        source: Folder of photographs, searched recursively.
        out: Folder of the shards and their index.
        max_bytes: Size of a shard; a larger photograph has a shard of its own.

    Returns:
        The number of photographs written, the errors of those that cannot be read, and the tables of all shards.

    Raises:
        ValueError: If there are no photographs, `out` was begun for something else, or a photograph changes meanwhile.
    """
    photographs, failed = _survey(source)
    shards = list(_partition(photographs, max_bytes))
    _claim(out, source, max_bytes / 2**20, photographs, failed)
    return len(photographs), failed, _write_missing(out, shards)
