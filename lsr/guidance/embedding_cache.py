"""Embeddings of texts on disk, by content: written whole or not at all, by any number of processes, and checked when read."""

import hashlib
import logging
import secrets
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsr.files import atomic_path

log = logging.getLogger(__name__)

_SAMPLED = 2**20  # bytes at a place of a large file that go into its fingerprint


def fingerprint(folder: Path) -> str:
    """Return what tells the files of one encoder from those of another.

    Of a file it takes the length, and the bytes: all of a small one, sixteen MiB evenly spread over a large one, for to read gigabytes at
    every start would take longer than to make a few embeddings.
    """
    digest = hashlib.sha256()
    for path in sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    ):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            for start in (
                range(0, size, _SAMPLED)
                if size <= 16 * _SAMPLED
                else (i * (size - _SAMPLED) // 15 for i in range(16))
            ):
                file.seek(start)
                digest.update(file.read(_SAMPLED))
    return digest.hexdigest()


class EmbeddingCache:
    """Tokens of texts, (L, D) bfloat16 each, in safetensors shards of a folder.

    A shard appears under its final name when it is complete and on the disk, and its name is drawn: processes that write at the same
    time write two shards, never one over the other, and what both hold is the same. A shard that was cut short for another reason is
    named and left out, so that its embeddings are made again; one whose bytes have changed is refused when it is read.

    Args:
        folder: One for each encoder; made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Any] = {}
        self._shard_of: dict[str, str] = {}
        self.look()

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._shard_of

    def __getitem__(self, text: str) -> Tensor:
        """Return the tokens of a text that is there.

        Raises:
            ValueError: If they are not what was written.
        """
        key = _key(text)
        shard = self._shard_of[key]
        tokens = self._files[shard].get_tensor(key)
        if self._files[shard].metadata().get(key) != _checksum(tokens):
            raise ValueError(
                f"{self.folder / shard}: damaged; delete it, and its embeddings are made again"
            )
        return tokens

    def add(self, embeddings: Mapping[str, Tensor]) -> None:
        """Write a shard.

        Args:
            embeddings: (L, D) of each text.
        """
        tensors = {
            _key(text): tokens.to("cpu", torch.bfloat16).contiguous()
            for text, tokens in embeddings.items()
        }
        with atomic_path(self.folder / f"{secrets.token_hex(8)}.safetensors") as temporary:
            save_file(
                tensors, temporary, {key: _checksum(tokens) for key, tokens in tensors.items()}
            )
        self.look()

    def look(self) -> None:
        """Take notice of shards that have appeared, of other processes too."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._files:
                continue
            try:
                self._files[path.name] = file = safe_open(path, "pt")
            except (SafetensorError, OSError) as error:
                log.warning("%s is damaged (%s): its embeddings are made again", path, error)
                continue
            self._shard_of |= dict.fromkeys(file.keys(), path.name)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(tokens: Tensor) -> str:
    return f"{zlib.crc32(tokens.view(torch.uint8).numpy().tobytes()):08x}"
