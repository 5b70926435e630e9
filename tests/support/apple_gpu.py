"""Tensors of a device like Apple's GPUs (MPS), which have no float64. They have no values."""

import contextlib
from collections.abc import Iterator

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _RefusesFloat64(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for each in tree_leaves(found):
            if isinstance(each, torch.Tensor) and each.device.type == "mps":
                if each.dtype == torch.float64:
                    raise TypeError("the MPS framework doesn't support float64")
        return found


@contextlib.contextmanager
def apple_gpu() -> Iterator[FakeTensorMode]:
    """Raise TypeError, as torch does there, where a tensor on the device would be float64."""
    with _RefusesFloat64():
        yield FakeTensorMode(allow_non_fake_inputs=True)


def on_gpu(mode: FakeTensorMode, *shape: int) -> torch.Tensor:
    """A float32 tensor on the device; this machine need not have one."""
    return FakeTensor(mode, torch.empty(*shape, device="meta"), torch.device("mps"))
