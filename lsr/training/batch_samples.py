"""Name the samples of a batch in a report."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

_NAMES = ("name", "path", "file", "filename", "key", "__key__", "id", "index", "idx", "seed")
_WANTED = frozenset((*_NAMES, *(f"{name}s" for name in _NAMES), "indices"))
"""Keys of a batch whose entries identify a sample: the names above, also in the plural."""


class BatchSamples:
    """What identifies the samples of a batch. They are read only when `describe` is called.

    Args:
        batch: The batch. Its samples have names if it is a mapping with a list of texts or a
            tensor (B,) of integers under a key such as "name", "path", "index" or "seed".
    """

    def __init__(self, batch: Any) -> None:
        self._entries: dict[str, Any] = {}
        if isinstance(batch, Mapping):
            self._entries = {
                str(key): value
                for key, value in batch.items()
                if str(key).lower() in _WANTED and _identifies(value)
            }

    def describe(self) -> dict[str, list[Any]]:
        """Return the names or numbers of the samples by the keys of the batch."""
        return {
            key: value.tolist() if isinstance(value, Tensor) else list(value)
            for key, value in self._entries.items()
        }


def _identifies(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 1 and not value.is_floating_point()
    return isinstance(value, Sequence) and all(isinstance(item, (str, int)) for item in value)
