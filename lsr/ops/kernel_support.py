"""Find out whether Triton kernels can run here and on given tensors."""

import torch
from torch import Tensor

try:
    from triton import knobs
except ModuleNotFoundError:  # Triton exists for Linux only
    HAVE_TRITON = False
    INTERPRETED = False
else:
    HAVE_TRITON = True
    INTERPRETED = knobs.runtime.interpret

TYPES = (torch.bfloat16, torch.float16, torch.float32)
"""Types that all kernels read and write."""


def kernels_take(*tensors: Tensor) -> bool:
    """Return whether kernels can read all tensors: CUDA tensors of the right types.

    In Triton's interpreter, which tests use, kernels can read CPU tensors too.
    """
    return HAVE_TRITON and all((x.is_cuda or INTERPRETED) and x.dtype in TYPES for x in tensors)


def check_interpreter_dtype(*tensors: Tensor) -> None:
    """Raise ValueError if Triton's interpreter would have to compute with bfloat16."""
    if INTERPRETED and any(x.dtype == torch.bfloat16 for x in tensors):
        raise ValueError(
            "Triton's interpreter (TRITON_INTERPRET=1) computes bfloat16 wrongly: "
            "use float16 or float32"
        )
