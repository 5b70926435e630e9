"""Measures the memory of the tensors that some code keeps at a time."""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Adds up the memory of all tensors that are made in this thread, until they are freed.

    Args:
        known: Tensors that do not count.

    Attributes:
        most: The largest sum so far, in bytes.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.now = self.most = 0

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = operator(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage()
            address, size = storage.data_ptr(), storage.nbytes()
            if address not in self.known:
                self.known.add(address)
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.free, address, size)
        return result

    def free(self, address: int, size: int) -> None:
        self.known.remove(address)
        self.now -= size
