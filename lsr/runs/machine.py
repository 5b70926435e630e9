"""Versions of packages and names of hardware, for the records of runs and evaluations."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of packages, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def hardware(device: str) -> dict[str, Any]:
    """Return the names of the device and of the CPU, and the number of CPU cores."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "device": device_name(device),
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
    }


def device_name(device: str) -> str:
    """Return the name of the GPU for a device such as "cuda:1", else the device itself."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
