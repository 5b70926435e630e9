"""Where Triton kernels run: what all operators of this folder ask before they launch one."""

import torch
from torch import Tensor

try:
    from triton import knobs
except ModuleNotFoundError:  # Triton is published for Linux alone
    HAVE_TRITON = INTERPRETED = False
else:
    HAVE_TRITON, INTERPRETED = True, knobs.runtime.interpret

TYPES = (torch.bfloat16, torch.float16, torch.float32)


def kernels_take(*tensors: Tensor) -> bool:
    """Whether kernels can read all of the tensors; in Triton's interpreter, which is for tests, they read from the CPU too."""
    return HAVE_TRITON and all((x.is_cuda or INTERPRETED) and x.dtype in TYPES for x in tensors)


def check_interpreter_dtype(*tensors: Tensor) -> None:
    """Raise ValueError where Triton's interpreter would be given bfloat16."""
    if INTERPRETED and any(x.dtype == torch.bfloat16 for x in tensors):
        raise ValueError(
            "Triton's interpreter computes bfloat16 wrongly: use float16 or float32 with TRITON_INTERPRET=1"
        )
