"""Latents on disk: rows in a fixed order in files that are whole or not there, and a plan that says what they are of."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsr.files import atomic_path

PLAN = "latents.json"
"""Name of the file with which a folder of latents begins."""

_FILE_BYTES = 128 * 2**20
_OPEN_FILES = 64
_LATENT, _CRC = "latent", "crc"


@dataclass(frozen=True)
class LatentPlan:
    """What a folder of latents holds; row `draw * photographs + index` is that of a draw of a photograph.

    Attributes:
        autoencoder: Identity of the autoencoder that made them, see `DeepCompression.identity`.
        crops: What tells the crops that they are of from others.
        draws: Crops of each photograph.
        photographs: Number of photographs.
        rows: Latents in a file; the last file may hold fewer.
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
        """Return the plan for latents of the shape `latent`, in files of about 128 MiB."""
        return cls(
            autoencoder,
            crops,
            draws,
            photographs,
            max(1, _FILE_BYTES // (4 * torch.Size(latent).numel())),
        )

    def files(self) -> dict[str, range]:
        """Return the rows of each file by its name."""
        total = self.draws * self.photographs
        return {
            f"latents-{n:06d}.safetensors": range(first, min(first + self.rows, total))
            for n, first in enumerate(range(0, total, self.rows))
        }

    def claim(self, folder: Path) -> None:
        """Note the plan in `folder`, or check that the folder was begun with it; remove what a killed run left.

        Raises:
            ValueError: The folder is for something else.
        """
        path = folder / PLAN
        if path.exists():
            before, now = asdict(_read_plan(path)), asdict(self)
            differing = sorted(
                name
                for name, value in (now | now["crops"]).items()
                if (before | before["crops"]).get(name) != value
            )
            if differing:
                named = ", ".join(name for name in differing if name != "crops")
                raise ValueError(
                    f"{folder} was begun with other {named or 'crops'}: choose another --out"
                )
        elif folder.is_dir() and any(folder.iterdir()):
            raise ValueError(
                f"{folder} holds files that lsr cache-latents did not write: choose another --out"
            )
        else:
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        for leftover in folder.glob(f".{'?' * 16}.tmp"):  # as atomic_path names them
            leftover.unlink()

    def missing(self, folder: Path) -> dict[str, range]:
        """Return those files that are not there, or not whole."""
        return {
            name: rows
            for name, rows in self.files().items()
            if not _is_whole(folder / name, len(rows))
        }


def _read_plan(path: Path) -> LatentPlan:
    try:
        return LatentPlan(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a plan of latents ({type(error).__name__})") from error


def _is_whole(path: Path, rows: int) -> bool:
    try:
        with safe_open(path, "pt") as file:  # compares the length of the file with its header
            return file.get_slice(_CRC).get_shape() == [rows]
    except (OSError, SafetensorError):
        return False


def write_latents(path: Path, latents: Iterable[Tensor], crcs: Iterable[Tensor]) -> None:
    """Write one file of latents (N, C, h, w) float32 with the CRC-32 (N,) of the pixels of each crop, both in batches."""
    with atomic_path(path) as temporary:
        save_file(
            {_LATENT: torch.cat(list(latents)).cpu().contiguous(), _CRC: torch.cat(list(crcs))},
            temporary,
        )


class LatentCache:
    """Latents by draw and photograph; may be used by forked and spawned processes.

    Args:
        folder: Written by `lsr cache-latents`.

    Attributes:
        plan: What they are.

    Raises:
        ValueError: If the folder is none, or not complete.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / PLAN).is_file():
            raise ValueError(f"{folder}: no latents there; lsr cache-latents makes them")
        self.folder, self.plan = folder, _read_plan(folder / PLAN)
        self._names = list(self.plan.files())
        missing = self.plan.missing(folder)
        if missing:
            raise ValueError(
                f"{folder / min(missing)}: missing or damaged, {len(missing)} of {len(self._names)}; run lsr cache-latents again"
            )

    def check_crops(self, crops: Mapping[str, Any]) -> None:
        """Compare with the crops that are wanted.

        Raises:
            ValueError: If they are others.
        """
        differing = sorted(
            name
            for name in crops.keys() | self.plan.crops.keys()
            if crops.get(name) != self.plan.crops.get(name)
        )
        if differing:
            name = differing[0]
            raise ValueError(
                f"{self.folder} holds latents of other crops: {name} {self.plan.crops.get(name)!r}, not {crops.get(name)!r}"
            )

    def latent(self, draw: int, index: int) -> Tensor:
        """Return the latent (C, h, w) float32 of a draw, below `plan.draws`, of a photograph."""
        file, row = self._place(draw, index)
        return file.get_slice(_LATENT)[row : row + 1][0]

    def crc(self, draw: int, index: int) -> int:
        """Return the CRC-32 of the pixels that a latent was made of."""
        file, row = self._place(draw, index)
        return int(file.get_slice(_CRC)[row : row + 1][0])

    def _place(self, draw: int, index: int) -> tuple[Any, int]:
        number, row = divmod(draw * self.plan.photographs + index, self.plan.rows)
        return _opened(self.folder / self._names[number]), row


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: Path) -> Any:
    return safe_open(path, "pt").__enter__()
