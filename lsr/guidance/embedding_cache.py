"""Store the embeddings of texts on disk, safely for several processes that read and write."""

import hashlib
import logging
import secrets
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lsr.error_text import first_clause
from lsr.files import atomic_path

log = logging.getLogger(__name__)

_SAMPLED = 2**20
"""Bytes of each sample of a large file that enter its fingerprint."""
_SAMPLES = 16
"""Number of samples of a large file; a file that is not larger than all samples is read whole."""


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 that differs between the folders of different encoders.

    It covers the name, the length and the bytes of every file: all bytes of a small file, and 16
    evenly spaced samples of one MiB of a large file. To read gigabytes at every start would take
    longer than to make a few embeddings.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            for start in _sample_starts(size):
                file.seek(start)
                digest.update(file.read(_SAMPLED))
    return digest.hexdigest()


def _sample_starts(size: int) -> Iterable[int]:
    """Return the positions in a file of `size` bytes at which samples begin."""
    if size <= _SAMPLES * _SAMPLED:
        return range(0, size, _SAMPLED)
    return [i * (size - _SAMPLED) // (_SAMPLES - 1) for i in range(_SAMPLES)]


class EmbeddingCache:
    """Embeddings of texts, (L, D) bfloat16 each, in the safetensors files (shards) of a folder.

    A shard gets its final name when it is complete and on the disk. The name is random, so
    processes that write at the same time never overwrite each other's shard; they may store the
    same embedding twice. A shard that cannot be opened is reported and ignored, so its embeddings
    are made again. A checksum of every embedding is compared when it is read.

    Args:
        folder: Folder of the shards of one encoder; the first `add` creates it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Any] = {}
        self._shard_of: dict[str, str] = {}
        self.refresh()

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._shard_of

    def __getitem__(self, text: str) -> Tensor:
        """Return the embedding (L, D) of a text that is in the cache.

        Raises:
            ValueError: If the checksum shows that the bytes have changed since they were written.
        """
        key = _key(text)
        shard = self._shard_of[key]
        tokens = self._files[shard].get_tensor(key)
        if self._files[shard].metadata().get(key) != _checksum(tokens):
            raise ValueError(
                f"{self.folder / shard}: damaged; delete it and start again, then its embeddings "
                "are made again"
            )
        return tokens

    def add(self, embeddings: Mapping[str, Tensor]) -> None:
        """Write the embeddings (L, D) of some texts to a new shard."""
        tensors = {
            _key(text): tokens.to("cpu", torch.bfloat16).contiguous()
            for text, tokens in embeddings.items()
        }
        checksums = {key: _checksum(tokens) for key, tokens in tensors.items()}
        with atomic_path(self.folder / f"{secrets.token_hex(8)}.safetensors") as temporary:
            save_file(tensors, temporary, checksums)
        self.refresh()

    def refresh(self) -> None:
        """Open the shards that were written since the last call, also by other processes."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._files:
                continue
            try:
                file = safe_open(path, "pt")
            except (SafetensorError, OSError) as error:
                reason = first_clause(error)
                log.warning("%s is damaged (%s): its embeddings are made again", path, reason)
                continue
            self._files[path.name] = file
            self._shard_of |= dict.fromkeys(file.keys(), path.name)


def _key(text: str) -> str:
    """Return the name of a text's embedding in a shard: its SHA-256, since a text can be long."""
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(tokens: Tensor) -> str:
    """Return the CRC-32 of the bytes of an embedding."""
    return f"{zlib.crc32(tokens.view(torch.uint8).numpy().tobytes()):08x}"
