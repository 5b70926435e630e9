"""Export LR images of photographs into a folder, with a line of parameters for each."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lsr.console.progress_bar import progress_bar
from lsr.degradations import DegradationConfig, DegradationParameters, apply, draw
from lsr.degradations.export_folder import (
    PARAMETERS_FILE,
    ExportSettings,
    Finished,
    Sample,
    claimed,
    recover,
)
from lsr.images import Photograph, UnreadableImage, read_rgb8, write_png


class Outcome(NamedTuple):
    """Result of an export.

    Attributes:
        made: Number of LR images made by this export.
        there: Number of LR images that were in the folder before.
        failed: Number of photographs that could not be read.
    """

    made: int
    there: int
    failed: int


def export(
    pairs: Sequence[tuple[Path, Path]], out: Path, settings: ExportSettings, per_image: int
) -> Outcome:
    """Write the LR images that are missing, as 8-bit PNG.

    Every photograph that cannot be read is reported on stderr. Every LR image is
    written before its line in `params.jsonl`: an export that is killed loses at most one LR image,
    and the next export makes it again.

    Args:
        pairs: Photographs and their LR images below `out`, from `lsr.images.collect`.
        out: Folder of the export: new, empty, or an export with the same settings.
        settings: Settings that all LR images share.
        per_image: LR images per photograph; above 1, their names end in `__0`, `__1`...

    Raises:
        ValueError: The folder does not fit, or two LR images would have the same name.
        OSError: A file cannot be written; the next export continues.
    """
    with claimed(out, settings):
        finished = recover(out)
        todo = _plan(pairs, out, per_image, finished)
        failed = _make(todo, out, settings)
    missing = sum(len(photograph.missing) for photograph in todo)
    lost = sum(len(photograph.missing) for photograph in failed)
    return Outcome(missing - lost, len(finished), len(failed))


@dataclass(frozen=True)
class _Photograph:
    """A photograph with missing LR images.

    Attributes:
        path: File of the photograph.
        source: Name relative to its folder.
        missing: Epoch of each missing LR image, and its name relative to the export's folder.
    """

    path: Path
    source: str
    missing: tuple[tuple[int, str], ...]


def _plan(
    pairs: Sequence[tuple[Path, Path]],
    out: Path,
    per_image: int,
    finished: dict[Sample, Finished],
) -> list[_Photograph]:
    """Return the photographs that have missing LR images, with the names of these.

    Finished LR images keep their names, even if photographs added later would change them.

    Raises:
        ValueError: Two LR images would have the same name, or a finished LR image was made from
            another photograph of the same name.
    """
    todo = []
    taken = {image.file for image in finished.values()}
    for path, target in pairs:
        name = target.relative_to(out)
        source = name.with_name(path.name).as_posix()
        missing = []
        for epoch in range(per_image):
            if (source, epoch) in finished:
                _check_same_photograph(path, source, out, finished[source, epoch])
                continue
            numbered = name if per_image == 1 else name.with_name(f"{name.stem}__{epoch}.png")
            file = numbered.as_posix()
            if file in taken:
                raise ValueError(
                    f"{path}: {out / file} is the LR image of another photograph: choose another "
                    "--out"
                )
            taken.add(file)
            missing.append((epoch, file))
        if missing:
            todo.append(_Photograph(path, source, tuple(missing)))
    return todo


def _check_same_photograph(path: Path, source: str, out: Path, image: Finished) -> None:
    if image.source_bytes != path.stat().st_size:
        raise ValueError(
            f"{out / image.file} was made from another photograph named {source}, not from {path} "
            "(their sizes in bytes differ): choose another --out"
        )


def _make(todo: Sequence[_Photograph], out: Path, settings: ExportSettings) -> list[_Photograph]:
    """Write the missing LR images, each before its line, and return the failed photographs."""
    failed = []
    total = sum(len(photograph.missing) for photograph in todo)
    with (
        (out / PARAMETERS_FILE).open("a") as lines,
        progress_bar("degrading", total, "images") as bar,
    ):
        for photograph in todo:
            try:
                hr = read_hr(photograph.path, settings.cfg.scale)
                size = photograph.path.stat().st_size
            except (UnreadableImage, MemoryError) as error:
                failed.append(photograph)
                named = isinstance(error, UnreadableImage)
                bar.say(f"failed: {error if named else f'{photograph.path}: out of memory'}")
                bar.advance(len(photograph.missing))
                continue
            for epoch, file in photograph.missing:
                index = sample_index(photograph.source)
                parameters = draw(settings.cfg, settings.seed, epoch, index)
                write_rgb8(out / file, degrade(hr, parameters, settings.cfg))
                record = {
                    "file": file,
                    "source": photograph.source,
                    "source_bytes": size,
                    "preset": settings.preset,
                    "config": settings.cfg.digest(),
                    "seed": settings.seed,
                    "epoch": epoch,
                    "index": index,
                    "parameters": json.loads(parameters.to_json()),
                }
                lines.write(json.dumps(record) + "\n")
                lines.flush()
                os.fsync(lines.fileno())
                bar.advance(1)
    return failed


def sample_index(source: str) -> int:
    """Return the index with which the parameters of a photograph are drawn.

    It consists of 63 bits of the SHA-256 of the name. A position in the sorted list of files would
    change when a photograph is added or removed, and with it the LR images of all that follow. Two
    of a million photographs have the same index in one of twenty million exports; these two then
    share their parameters, which does no harm.

    Args:
        source: Name of the photograph relative to its folder.
    """
    return int.from_bytes(hashlib.sha256(os.fsencode(source)).digest()[:8], "big") >> 1


def degrade(
    hr: np.ndarray, parameters: DegradationParameters, cfg: DegradationConfig
) -> np.ndarray:
    """Degrade a photograph (H, W, 3) uint8 to (H // scale, W // scale, 3) uint8, on the CPU."""
    image = torch.from_numpy(hr).permute(2, 0, 1)[None].float() / 255
    lr = apply(image, [parameters], cfg)[0].permute(1, 2, 0)
    return lr.mul(255).round().to(torch.uint8).numpy()


def read_hr(path: Path, scale: int) -> np.ndarray:
    """Read a photograph as (H, W, 3) uint8.

    Raises:
        UnreadableImage: The file cannot be read, or a side has fewer than `scale` pixels.
    """
    hr = read_rgb8(path)
    if min(hr.shape[:2]) < scale:
        raise UnreadableImage(
            f"{path}: {hr.shape[1]} x {hr.shape[0]} pixels are too few for scale {scale}: each "
            f"side needs at least {scale}"
        )
    return hr


def write_rgb8(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as a PNG, atomically."""
    write_png(path, Photograph(pixels.astype(np.float32) / np.float32(255)))
