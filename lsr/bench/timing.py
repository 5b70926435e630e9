"""How a benchmark measures: time, memory, and what the machine could do at best."""

import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_LEAST_RUNS = 3


@dataclass(frozen=True)
class Measurement:
    """What a function took.

    Attributes:
        seconds: Median time of a call.
        runs: Calls that were timed.
        peak_bytes: Memory allocated at once during a call beyond what was there before; None on the CPU, where torch does not tell.
    """

    seconds: float
    runs: int
    peak_bytes: int | None


def now(device: torch.device) -> float:
    """Return the seconds of a clock after everything that a GPU was given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(function: Callable[[], object], device: torch.device, seconds: float) -> Measurement:
    """Time calls of `function` for about `seconds`, after two that do not count; a GPU is waited for around each."""
    for _ in range(2):
        function()
    peak = None
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() - before
    times: list[float] = []
    while len(times) < _LEAST_RUNS or sum(times) < seconds:
        start = now(device)
        function()
        times.append(now(device) - start)
    return Measurement(statistics.median(times), len(times), peak)


@dataclass(frozen=True)
class Roofline:
    """What the machine does at best, as measured here and now.

    Attributes:
        flops: Floating-point operations per second of a large matrix product.
        bytes: Bytes per second of a large copy, read and written.
    """

    flops: float
    bytes: float

    def least_seconds(self, flops: float, moved: float) -> float:
        """Return the time that arithmetic or memory alone would take, whichever is longer."""
        return max(flops / self.flops, moved / self.bytes)


def measure_roofline(device: torch.device, dtype: torch.dtype) -> Roofline:
    """Measure a large matrix product and a large copy."""
    side, length = (8192, 2**30) if device.type == "cuda" else (1024, 2**26)
    a = torch.randn(side, side, generator=torch.Generator(device).manual_seed(0), device=device).to(
        dtype
    )
    source = torch.zeros(length, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    product = measure(lambda: a @ a, device, 0.5).seconds
    copy = measure(lambda: target.copy_(source), device, 0.5).seconds
    return Roofline(2 * side**3 / product, 2 * length / copy)


def conditions(device: torch.device, dtype: torch.dtype) -> str:
    """Return a line that says what figures are worth: hardware, precision, versions, commit."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    )
    describe = [shutil.which("git") or "false", "describe", "--always", "--dirty"]
    commit = subprocess.run(
        describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{name}, {str(dtype).removeprefix('torch.')}, torch {torch.__version__}, commit {commit or 'unknown'}"
