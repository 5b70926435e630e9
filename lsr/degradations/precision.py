"""Keep matrix products exact whatever the training has allowed elsewhere."""

from typing import Any

import torch


def matmul_dtype(device: torch.device) -> torch.dtype:
    """Return a type in which matrix products on `device` are good to at least single precision.

    A training may allow TF32 or bfloat16 arithmetic inside float32 products (`torch.set_float32_matmul_precision`); a 10 bit
    mantissa is far too coarse for a cosine transform. Double precision is never shortened.
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
