"""The folder of an export: LR images and a line of parameters for each, whole again after every interruption."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lsr.degradations import DegradationConfig, DegradationParameters, apply, draw
from lsr.files import atomic_path
from lsr.images import Photograph, UnreadableImage, read_rgb8, write_png
from lsr.progress_bar import progress_bar

LAW_FILE = "degradation.json"
"""What every LR of an export has in common: preset, seed, and the configuration with all its values."""

PARAMETERS_FILE = "params.jsonl"
"""One line per LR of an export."""


@dataclasses.dataclass(frozen=True)
class Law:
    """What the LR images of one folder have in common.

    Attributes:
        preset: Name of the preset that `cfg` started from.
        cfg: The configuration.
        seed: Seed of the draws.
    """

    preset: str
    cfg: DegradationConfig
    seed: int


class Outcome(NamedTuple):
    """What an export did: LR images made now, LR images that were there before, photographs that failed."""

    made: int
    there: int
    failed: int


def sample_index(source: str) -> int:
    """Return the index that a photograph's draws are addressed by: 63 bits of the SHA-256 of its name relative to its folder.

    A position in the sorted listing would change as soon as a photograph is added or taken away, and with it the LR of all that
    follow. Among a million photographs two collide once in twenty million exports, and then they merely share their draws.
    """
    return int.from_bytes(hashlib.sha256(os.fsencode(source)).digest()[:8], "big") >> 1


def degrade(
    hr: np.ndarray, parameters: DegradationParameters, cfg: DegradationConfig
) -> np.ndarray:
    """Degrade a (H, W, 3) uint8 photograph to (H // scale, W // scale, 3) uint8, on the CPU."""
    image = torch.from_numpy(hr).permute(2, 0, 1)[None].float() / 255
    lr = apply(image, [parameters], cfg)[0].permute(1, 2, 0)
    return lr.mul(255).round().to(torch.uint8).numpy()


def read_hr(path: Path, scale: int) -> np.ndarray:
    """Read a photograph as (H, W, 3) uint8.

    Raises:
        UnreadableImage: It cannot be read, or a side has fewer than `scale` pixels.
    """
    hr = read_rgb8(path)
    if min(hr.shape[:2]) < scale:
        raise UnreadableImage(
            f"{path}: {hr.shape[1]} x {hr.shape[0]} pixels are too few for scale {scale}"
        )
    return hr


def write_rgb8(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as a PNG: whole, or not at all."""
    write_png(path, Photograph(pixels.astype(np.float32) / np.float32(255)))


@dataclasses.dataclass(frozen=True)
class _Photograph:
    """A photograph of which LR images are missing.

    Attributes:
        path: Where to read it.
        source: Its name relative to its folder.
        missing: (epoch, name relative to the folder of the export) of each LR.
    """

    path: Path
    source: str
    missing: tuple[tuple[int, str], ...]


def export(pairs: Sequence[tuple[Path, Path]], out: Path, law: Law, per_image: int) -> Outcome:
    """Write `per_image` LR images of every photograph that are not there yet, as 8-bit PNG; each unreadable photograph is named on stderr.

    An LR is on the disk before its line is, so a kill at any moment costs one LR, which the next call makes again.

    Args:
        pairs: (photograph, its LR below `out`), from `lsr.images.files.outputs.collect`.
        out: Folder of the export, new, empty, or of the same law.
        law: What the LR images have in common.
        per_image: LR images per photograph; above 1 their names end in `__0`, `__1`...

    Raises:
        ValueError: The folder is not fit for it, or two LR images would have one name.
        OSError: Something cannot be written; the next call continues.
    """
    with _claimed(out, law):
        done = _recover(out)
        todo = _plan(pairs, out, per_image, done)
        failed = _make(todo, out, law)
    missing = sum(len(photograph.missing) for photograph in todo)
    return Outcome(
        missing - sum(len(photograph.missing) for photograph in failed), len(done), len(failed)
    )


@contextlib.contextmanager
def _claimed(out: Path, law: Law) -> Iterator[None]:
    """Hold the folder for this process alone, and see that it is new or one of the same law."""
    if not (out / LAW_FILE).exists():
        if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise ValueError(
                f"--out {out} is neither empty nor an export of this command: choose another"
            )
        document = {
            "preset": law.preset,
            "seed": law.seed,
            "digest": law.cfg.digest(),
            "config": dataclasses.asdict(law.cfg),
        }
        with atomic_path(out / LAW_FILE) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")
    with (out / LAW_FILE).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"--out {out}: another export is writing there") from None
        try:
            document = json.load(file)
            there = document["preset"], document["digest"], document["seed"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{out / LAW_FILE}: not of this command, or damaged: choose another --out"
            ) from None
        if there != (law.preset, law.cfg.digest(), law.seed):
            raise ValueError(
                f"--out {out} holds an export of preset {there[0]}, configuration {there[1]}, seed {there[2]}; "
                f"this one is {law.preset}, {law.cfg.digest()}, {law.seed}: choose another folder"
            )
        yield


def _recover(out: Path) -> dict[tuple[str, int], tuple[str, int]]:
    """Clear up what a killed export left: temporary files, half a line, lines whose LR is gone.

    Returns:
        (source, epoch) -> file of what is done, and the bytes of the photograph it was made from.
    """
    for leftover in out.rglob(f".{'[0-9a-f]' * 16}.tmp"):
        leftover.unlink()
    done: dict[tuple[str, int], tuple[str, int]] = {}
    ledger = out / PARAMETERS_FILE
    if not ledger.exists():
        return done
    with (
        atomic_path(ledger) as temporary,
        ledger.open("rb") as before,
        temporary.open("wb") as after,
    ):
        for line in before:
            try:
                record = json.loads(line)
                key, file = (str(record["source"]), int(record["epoch"])), str(record["file"])
                size = int(record["source_bytes"])
            except (ValueError, KeyError, TypeError):
                continue
            if line.endswith(b"\n") and key not in done and (out / file).is_file():
                done[key] = file, size
                after.write(line)
    return done


def _plan(
    pairs: Sequence[tuple[Path, Path]],
    out: Path,
    per_image: int,
    done: dict[tuple[str, int], tuple[str, int]],
) -> list[_Photograph]:
    """Name what is missing. What is done keeps its name, also where photographs that came later would change it.

    Raises:
        ValueError: Two LR images would have the same name, or one was made from another photograph of the same name.
    """
    todo = []
    taken = {file for file, _ in done.values()}
    for path, target in pairs:
        name = target.relative_to(out)
        source = name.with_name(path.name).as_posix()
        missing = []
        for epoch in range(per_image):
            if (source, epoch) in done:
                file, size = done[source, epoch]
                if size != path.stat().st_size:
                    raise ValueError(
                        f"{out / file} was made from another {source} than {path}: choose another --out"
                    )
            else:
                file = (
                    name if per_image == 1 else name.with_name(f"{name.stem}__{epoch}.png")
                ).as_posix()
                if file in taken:
                    raise ValueError(
                        f"{path}: {out / file} is the LR of another photograph: choose another --out"
                    )
                taken.add(file)
                missing.append((epoch, file))
        if missing:
            todo.append(_Photograph(path, source, tuple(missing)))
    return todo


def _make(todo: Sequence[_Photograph], out: Path, law: Law) -> list[_Photograph]:
    """Write what is missing, each LR before its line; returns the photographs that failed."""
    failed = []
    total = sum(len(photograph.missing) for photograph in todo)
    with (
        (out / PARAMETERS_FILE).open("a") as ledger,
        progress_bar("degrading", total, "images") as bar,
    ):
        for photograph in todo:
            try:
                hr = read_hr(photograph.path, law.cfg.scale)
                size = photograph.path.stat().st_size
            except (UnreadableImage, MemoryError) as error:
                failed.append(photograph)
                message = (
                    str(error)
                    if isinstance(error, UnreadableImage)
                    else f"{photograph.path}: {error}"
                )
                bar.say(f"failed: {message}")
                bar.advance(len(photograph.missing))
                continue
            index = sample_index(photograph.source)
            for epoch, file in photograph.missing:
                parameters = draw(law.cfg, law.seed, epoch, index)
                record = {
                    "file": file,
                    "source": photograph.source,
                    "source_bytes": size,
                    "preset": law.preset,
                    "config": law.cfg.digest(),
                }
                record |= {
                    "seed": law.seed,
                    "epoch": epoch,
                    "index": index,
                    "parameters": json.loads(parameters.to_json()),
                }
                lr = degrade(hr, parameters, law.cfg)
                write_rgb8(out / file, lr)
                ledger.write(json.dumps(record) + "\n")
                ledger.flush()
                os.fsync(ledger.fileno())
                bar.advance(1)
    return failed
