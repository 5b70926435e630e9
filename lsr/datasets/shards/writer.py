"""Writing photographs and their tags into WebDataset tar shards with an index.

The files of a run are the plan, then the shards, each with a table of its own, then the index of
all shards. A shard is either complete or not there, so a run that was stopped can be continued.
"""

import contextlib
import hashlib
import io
import json
import re
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lsr.console.progress_bar import progress_bar
from lsr.datasets.shards.index import INDEX, PLAN
from lsr.datasets.shards.table import Sample, ShardTable, load_tables, save_tables
from lsr.datasets.tags import TAGS, FolderTags
from lsr.files import atomic_path, is_cut_off, locked, remove_leftovers, rewrite_json
from lsr.images import UnreadableImage, check_pixels, find_images


class _Photograph(NamedTuple):
    """A readable photograph.

    Attributes:
        path: The image file.
        size: Its length in bytes.
        mtime_ns: Its time of modification.
        height: Height of the upright photograph in pixels.
        width: Width of the upright photograph in pixels.
        tags: Its tags.
        description: The JSON that is written to the shard after the image file.
    """

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


_Shard = Sequence[tuple[str, _Photograph]]
"""The photographs of a shard, each with its key: the name of its members without their suffix."""


def write_shards(
    source: Path, out: Path, max_bytes: float
) -> tuple[int, list[UnreadableImage], list[ShardTable]]:
    """Copy the photographs of a folder, byte for byte, into shards, or continue such a run.

    Args:
        source: Folder of photographs, searched recursively.
        out: Folder for the shards and their index.
        max_bytes: Largest size of a shard; a larger photograph has a shard of its own.

    Returns:
        The number of photographs written, the errors of the photographs that cannot be read, and
        the tables of all shards.

    Raises:
        ValueError: There are no photographs, `out` was begun with other photographs or settings,
            another run is writing there, or a photograph changes during the run.
    """
    photographs, failed = _survey(source)
    shards = list(_partition(photographs, max_bytes))
    with _claimed(out, source, _plan(max_bytes / 2**20, photographs, failed)):
        return len(photographs), failed, _write_missing(out, shards)


def _survey(folder: Path) -> tuple[list[_Photograph], list[UnreadableImage]]:
    """Check the photographs of a folder, read their tags, and report on stderr.

    Returns:
        The readable photographs, and the errors of the others.

    Raises:
        ValueError: There are no images, none can be read, or the list of tags is damaged.
    """
    paths = find_images(folder)
    if not paths:
        raise ValueError(f"{folder}: no images in this folder")
    tags_of = FolderTags(folder)
    unknown = tags_of.listed.keys() - {path.relative_to(folder).as_posix() for path in paths}
    if unknown:
        sys.stderr.write(
            f"{folder / TAGS}: {len(unknown)} of its {len(tags_of.listed)} files do not exist, "
            f"such as {min(unknown)}; their tags are not used\n"
        )
    found: list[_Photograph] = []
    failed: list[UnreadableImage] = []
    with progress_bar("checking", len(paths), "photographs") as bar:
        for path in paths:
            try:
                found.append(_checked(folder, path, tags_of))
            except UnreadableImage as error:
                failed.append(error)
                bar.say(f"failed: {error}")
            bar.advance(1)
    if not found:
        raise ValueError(
            f"{folder}: none of its {len(paths)} images can be read, see the lines above"
        )
    return found, failed


def _checked(folder: Path, path: Path, tags_of: FolderTags) -> _Photograph:
    """Return a photograph; raise `UnreadableImage` also for damage behind the header."""
    name = path.relative_to(folder).as_posix()
    width, height = check_pixels(path)
    state = path.stat()
    tags = tags_of(path)
    text = json.dumps({"file": name, "height": height, "width": width, "tags": tags})
    return _Photograph(path, state.st_size, state.st_mtime_ns, height, width, tags, text.encode())


def _partition(photographs: Sequence[_Photograph], limit: float) -> Iterator[_Shard]:
    """Divide photographs among shards of at most `limit` bytes, in order.

    A photograph that is larger than the limit has a shard of its own.
    """
    shard: list[tuple[str, _Photograph]] = []
    room = 0
    for number, photograph in enumerate(photographs):
        if shard and room + photograph.room() > limit:
            yield shard
            shard = []
            room = 0
        # The number keeps equal names apart. The rest is short and without dots, so that no key
        # needs an extended tar header, and readers do not take a part of it for a suffix.
        stem = re.sub("[^A-Za-z0-9-]+", "_", photograph.path.stem)[:60]
        shard.append((f"{number:07d}_{stem}", photograph))
        room += photograph.room()
    yield shard


@contextlib.contextmanager
def _claimed(out: Path, source: Path, plan: dict[str, Any]) -> Iterator[None]:
    """Lock `out` inside the block, and write the plan there or check that it is the same plan.

    Temporary files of a killed run are removed.

    Raises:
        ValueError: `out` was begun with another plan, holds shards but no plan, or is locked.
    """
    path = out / PLAN
    if not path.exists() and any(out.glob("*.tar")):
        raise ValueError(f"{out} holds shards that lsr shard did not write: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    busy = f"--out {out}: another lsr shard is writing there; wait for its end"
    with locked(path, busy) as file:
        if is_cut_off(text := file.read(), plan):
            rewrite_json(file, plan)
        else:
            _check_same(out, source, text, plan)
        remove_leftovers(out)
        yield


def _check_same(out: Path, source: Path, text: str, plan: dict[str, Any]) -> None:
    """Raise ValueError if the plan in `text` differs from `plan`."""
    try:
        before = json.loads(text)
    except ValueError:
        before = {}
    if before.get("max_mib", plan["max_mib"]) != plan["max_mib"]:
        raise ValueError(
            f"{out} was begun with --max-mib {before['max_mib']:g}: continue with that, or "
            "choose another --out"
        )
    if before != plan:
        raise ValueError(
            f"{out} was begun when {source} held other photographs or tags: choose another "
            "--out, or delete that folder"
        )


def _plan(
    max_mib: float, photographs: Sequence[_Photograph], failed: Sequence[UnreadableImage]
) -> dict[str, Any]:
    """Return what identifies a run: its settings, and a digest of its photographs and tags."""
    digest = hashlib.sha256()
    for photograph in photographs:
        digest.update(
            b"%d %d %s\n" % (photograph.size, photograph.mtime_ns, photograph.description)
        )
    return {
        "version": 1,
        "max_mib": max_mib,
        "photographs": len(photographs),
        "unreadable": len(failed),
        "sha256": digest.hexdigest(),
    }


def _completed(out: Path) -> dict[str, ShardTable]:
    """Return the tables of the complete shards of earlier runs, by the name of the shard."""
    tables: dict[str, ShardTable] = {}
    for path in (out / INDEX, *out.glob("shard-*.npz")):
        try:
            tables |= {table.file: table for table in load_tables(path)}
        except ValueError:  # a shard without a readable table is written again
            continue
    return {
        name: table
        for name, table in tables.items()
        if (out / name).is_file() and (out / name).stat().st_size == table.bytes
    }


def _write_missing(out: Path, shards: Sequence[_Shard]) -> list[ShardTable]:
    """Write the shards that are not complete yet, then the index of all shards.

    The table of each shard is kept in a file of its own until the index is written.

    Returns:
        The tables of all shards.
    """
    completed = _completed(out)
    targets = {out / f"shard-{number:06d}.tar": shard for number, shard in enumerate(shards)}
    missing = [target for target in targets if target.name not in completed]
    total = sum(photograph.size for target in missing for _, photograph in targets[target])
    with progress_bar("writing shards", total / 2**20, "MiB") as bar:
        for target in missing:
            table = _write(target, targets[target], lambda size: bar.advance(size / 2**20))
            save_tables(target.with_suffix(".npz"), [table])
            completed[target.name] = table
    tables = [completed[target.name] for target in targets]
    save_tables(out / INDEX, tables)
    for target in targets:
        target.with_suffix(".npz").unlink(missing_ok=True)
    return tables


def _write(target: Path, shard: _Shard, advance: Callable[[int], None]) -> ShardTable:
    """Write one shard, completely or not at all.

    Args:
        target: The file of the shard.
        shard: Its photographs.
        advance: Function that is called with the bytes of every photograph that is done.

    Returns:
        The table of the shard.

    Raises:
        ValueError: A photograph has changed since `_survey`.
    """
    samples: list[Sample] = []
    with (
        atomic_path(target) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for key, photograph in shard:
            samples.append(_append(tar, key, photograph))
            advance(samples[-1].size)
    return ShardTable.of(target.name, target.stat().st_size, 0, samples)


def _append(tar: tarfile.TarFile, key: str, photograph: _Photograph) -> Sample:
    """Append the image file and the JSON of a photograph to a shard."""
    data = photograph.path.read_bytes()
    now = (len(data), photograph.path.stat().st_mtime_ns)
    if now != (photograph.size, photograph.mtime_ns):
        raise ValueError(
            f"{photograph.path} changed while the shards were written: choose another --out and "
            "run again"
        )
    member = key + photograph.path.suffix.lower()
    offset = tar.offset + tarfile.BLOCKSIZE
    for name, content in ((member, data), (f"{key}.json", photograph.description)):
        # Owner, group and time stay 0, so that equal photographs give equal shards.
        header = tarfile.TarInfo(name)
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))
    return Sample(
        offset,
        len(data),
        photograph.height,
        photograph.width,
        zlib.crc32(data),
        member,
        photograph.tags,
    )
