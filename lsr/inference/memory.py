"""Memory at hand, and errors that say that there was none."""

from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Return how much memory can still be had on a device; on the CPU also within the limits of a container."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    free = psutil.virtual_memory().available
    try:
        limit, used = (
            (_CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current")
        )
        # The page cache counts as used, but gives way.
        cache = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())[
            "inactive_file"
        ]
        return free if limit == "max" else min(free, int(limit) - int(used) + int(cache))
    except (OSError, KeyError, ValueError):
        return free


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out: numpy, a GPU, and PyTorch on a CPU each say it in their way."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
