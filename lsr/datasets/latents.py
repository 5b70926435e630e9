"""Latents of training crops on disk: written by `lsr cache-latents`, read in training.

A folder of latents holds a plan (`latents.json`) and files of latents in a fixed order. A file is
either complete or not there.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsr.files import atomic_path, is_cut_off, locked, remove_leftovers, rewrite_json

PLAN = "latents.json"
"""Name of the file that holds the plan of a folder of latents; it is written first."""

_FILE_BYTES = 128 * 2**20
_OPEN_FILES = 64

_LATENT = "latent"
_CRC = "crc"


@dataclass(frozen=True)
class LatentPlan:
    """The contents of a folder of latents, and how they are divided into files.

    Row `epoch * photographs + index` of all rows is the latent of the crop that is taken from
    photograph `index` in epoch `epoch`, for the epochs 0 to draws - 1.

    Attributes:
        autoencoder: Identity of the autoencoder that made the latents, see
            `DeepCompression.identity`.
        crops: Identity of the crops: every setting that changes their pixels.
        draws: Number of crops of each photograph.
        photographs: Number of photographs.
        rows: Number of latents in a file; the last file may hold fewer.
    """

    autoencoder: dict[str, Any]
    crops: dict[str, Any]
    draws: int
    photographs: int
    rows: int

    @classmethod
    def of(
        cls,
        autoencoder: dict[str, Any],
        crops: dict[str, Any],
        draws: int,
        photographs: int,
        latent: tuple[int, ...],
    ) -> "LatentPlan":
        """Return the plan for float32 latents of the shape `latent`, in files of about 128 MiB."""
        rows = max(1, _FILE_BYTES // (4 * torch.Size(latent).numel()))
        return cls(autoencoder, crops, draws, photographs, rows)

    def files(self) -> dict[str, range]:
        """Return the range of rows in each file, by the name of the file."""
        total = self.draws * self.photographs
        return {
            f"latents-{n:06d}.safetensors": range(first, min(first + self.rows, total))
            for n, first in enumerate(range(0, total, self.rows))
        }

    @contextmanager
    def claimed(self, folder: Path) -> Iterator[None]:
        """Lock `folder` inside the block, and write the plan there or check that it is the same.

        Temporary files of a killed run are removed.

        Raises:
            ValueError: The folder was begun with another plan, holds files but no plan, or is
                locked.
        """
        path = folder / PLAN
        if not path.exists() and folder.is_dir() and any(folder.iterdir()):
            raise ValueError(
                f"{folder} holds files that lsr cache-latents did not write: choose another --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"--out {folder}: another lsr cache-latents is writing there; wait for its end"
        with locked(path, busy) as file:
            if is_cut_off(file.read(), asdict(self)):
                rewrite_json(file, asdict(self))
            else:
                self._check_same(folder, _read_plan(path))
            remove_leftovers(folder)
            yield

    def _check_same(self, folder: Path, other: "LatentPlan") -> None:
        before = asdict(other) | other.crops
        now = asdict(self) | self.crops
        differing = sorted(name for name, value in now.items() if before.get(name) != value)
        if differing:
            named = ", ".join(name for name in differing if name != "crops")
            raise ValueError(
                f"{folder} was begun with other settings ({named or 'crops'}): give the same ones, "
                "or choose another --out"
            )

    def missing(self, folder: Path) -> dict[str, range]:
        """Return the range of rows in each file that is missing or incomplete, by its name."""
        return {
            name: rows
            for name, rows in self.files().items()
            if not _is_whole(folder / name, len(rows))
        }


def _read_plan(path: Path) -> LatentPlan:
    try:
        return LatentPlan(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged or was not written by lsr cache-latents ({type(error).__name__}): "
            "run this command with another --out"
        ) from error


def _is_whole(path: Path, rows: int) -> bool:
    try:
        with safe_open(path, "pt") as file:  # compares the length of the file with its header
            return file.get_slice(_CRC).get_shape() == [rows]
    except (OSError, SafetensorError):
        return False


def write_latents(path: Path, latents: Iterable[Tensor], crcs: Iterable[Tensor]) -> None:
    """Write one file of N latents.

    Args:
        path: The file.
        latents: Batches of latents, together (N, C, h, w) float32.
        crcs: Batches of the CRC-32 of each crop's pixels, together (N,).
    """
    with atomic_path(path) as temporary:
        save_file(
            {_LATENT: torch.cat(list(latents)).cpu().contiguous(), _CRC: torch.cat(list(crcs))},
            temporary,
        )


class LatentCache:
    """Random access to the latents in a folder.

    May be used by forked and spawned processes.

    Args:
        folder: Folder that `lsr cache-latents` wrote.

    Attributes:
        plan: The plan of the folder.

    Raises:
        ValueError: The folder holds no latents, or not all of its files.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / PLAN).is_file():
            raise ValueError(
                f"{folder}: no latents in this folder; make them with lsr cache-latents"
            )
        self.folder = folder
        self.plan = _read_plan(folder / PLAN)
        self._names = list(self.plan.files())
        missing = self.plan.missing(folder)
        if missing:
            raise ValueError(
                f"{folder / min(missing)} is missing or damaged ({len(missing)} of "
                f"{len(self._names)} files are): run the same lsr cache-latents command again"
            )

    def check_crops(self, crops: Mapping[str, Any]) -> None:
        """Check that the latents are those of the crops that training will use.

        Args:
            crops: Identity of these crops, see `LatentPlan.crops`.

        Raises:
            ValueError: The latents are those of other crops.
        """
        cached = self.plan.crops
        for name in sorted(crops.keys() | cached.keys()):
            if crops.get(name) != cached.get(name):
                what = f"{name} {cached.get(name)!r} instead of {crops.get(name)!r}"
                if name == "photographs":  # the values are digests
                    what = "other photographs"
                raise ValueError(
                    f"{self.folder}: its latents were made with {what}; run lsr cache-latents for "
                    "this experiment with another --out"
                )

    def latent(self, epoch: int, index: int) -> Tensor:
        """Return the latent (C, h, w) float32 of the crop of a photograph in an epoch.

        Args:
            epoch: Number of the epoch, below `plan.draws`.
            index: Number of the photograph.
        """
        file, row = self._place(epoch, index)
        return file.get_slice(_LATENT)[row : row + 1][0]

    def crc(self, epoch: int, index: int) -> int:
        """Return the CRC-32 of the pixels of the crop whose latent `latent` returns."""
        file, row = self._place(epoch, index)
        return int(file.get_slice(_CRC)[row : row + 1][0])

    def _place(self, epoch: int, index: int) -> tuple[Any, int]:
        """Return the open file that holds a latent, and its row in that file."""
        number, row = divmod(epoch * self.plan.photographs + index, self.plan.rows)
        return _opened(self.folder / self._names[number]), row


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: Path) -> Any:
    return safe_open(path, "pt").__enter__()
