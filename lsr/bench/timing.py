"""How a benchmark measures time and memory, and the highest speeds that the device reaches."""

import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_WARM_UP_CALLS = 2
_LEAST_CALLS = 3


@dataclass(frozen=True)
class Measurement:
    """Time and memory of a function.

    Attributes:
        seconds: Median time of a call.
        runs: Number of timed calls.
        peak_bytes: Highest memory allocated during a call, minus the memory allocated before it;
            None on the CPU, where PyTorch does not count.
    """

    seconds: float
    runs: int
    peak_bytes: int | None


def now(device: torch.device) -> float:
    """Return the time of a clock in seconds, after all work queued on a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def time_calls(function: Callable[[], object], device: torch.device, seconds: float) -> Measurement:
    """Call a function repeatedly, and measure its time and memory.

    Two calls warm up and are not timed. On a GPU, one more call measures memory. The timed calls
    follow.

    Args:
        function: Function to measure.
        device: Device that the function works on; a GPU is synchronised before and after each call.
        seconds: Least total time of the timed calls in seconds; at least three calls are timed.

    Returns:
        The median time of the timed calls in seconds, their number, and the peak memory on a GPU.
    """
    for _ in range(_WARM_UP_CALLS):
        function()
    peak = _peak_bytes(function) if device.type == "cuda" else None
    times: list[float] = []
    while len(times) < _LEAST_CALLS or sum(times) < seconds:
        start = now(device)
        function()
        times.append(now(device) - start)
    return Measurement(statistics.median(times), len(times), peak)


def _peak_bytes(function: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


@dataclass(frozen=True)
class Roofline:
    """Highest speeds of a device, as measured in this run.

    The two bounds of the roofline model (Williams et al., "Roofline: an insightful visual
    performance model", 2009).

    Attributes:
        flops: Floating-point operations per second of a large matrix product.
        bytes: Bytes per second of a large copy, counted when read and when written.
    """

    flops: float
    bytes: float

    def least_seconds(self, flops: float, moved: float) -> float:
        """Return the shortest possible time of a call: arithmetic or memory alone, the longer one.

        Args:
            flops: Floating-point operations of the call.
            moved: Bytes that the call reads and writes.
        """
        return max(flops / self.flops, moved / self.bytes)


def measure_roofline(device: torch.device, dtype: torch.dtype) -> Roofline:
    """Time a large matrix product and a large copy on a device."""
    side, length = (8192, 2**30) if device.type == "cuda" else (1024, 2**26)
    generator = torch.Generator(device).manual_seed(0)
    a = torch.randn(side, side, generator=generator, device=device).to(dtype)
    source = torch.zeros(length, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    product = time_calls(lambda: a @ a, device, 0.5).seconds
    copy = time_calls(lambda: target.copy_(source), device, 0.5).seconds
    return Roofline(2 * side**3 / product, 2 * length / copy)


def conditions(device: torch.device, dtype: torch.dtype) -> str:
    """Return one line with what a reader needs to judge the figures.

    It names hardware, precision, the version of PyTorch and the commit of this library.
    """
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    )
    precision = str(dtype).removeprefix("torch.")
    return f"{name}, {precision}, torch {torch.__version__}, commit {_commit() or 'unknown'}"


def _commit() -> str:
    """Return the commit of the source folder, or an empty string outside of a git repository."""
    describe = [shutil.which("git") or "false", "describe", "--always", "--dirty"]
    result = subprocess.run(
        describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return result.stdout.strip()
