"""Keep matrix products exact even if the training allows reduced precision."""

from typing import Any

import torch


def matmul_dtype(device: torch.device) -> torch.dtype:
    """Return a type whose matrix products on `device` have at least single precision.

    A training may allow TF32 or bfloat16 arithmetic inside of float32 products
    (`torch.set_float32_matmul_precision`). TF32 keeps 10 bits of the mantissa, bfloat16 7: a cosine
    transform would be off by whole 8-bit levels. Products in double precision are never shortened.
    """
    if device.type != "cpu":
        return torch.float64
    backends: Any = torch.backends
    allowed = {
        backends.fp32_precision,
        backends.mkldnn.fp32_precision,
        backends.mkldnn.matmul.fp32_precision,
    }
    return torch.float32 if allowed <= {"none", "ieee"} else torch.float64
