"""What the rows say together, and everything needed to get them again: `summary.json`."""

import math
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsr.files import sha256_of
from lsr.metrics.cards import CARDS
from lsr.metrics.weights import url

CONVENTIONS = (
    "Metrics are taken on 8-bit RGB: of what the PNG file of the result holds, and of the HR file.",
    "A model's result is exactly `scale` times as large: inside, photographs are padded at the right and at the bottom by their last "
    "pixels, never stretched. Those larger than a tile (`tile` LR pixels; 0: none) are sampled in tiles that overlap.",
    "A model's colours are brought back to those of the LR photograph as `color_fix` says (`lsr upscale --color-fix`).",
    "A model that tags guide is given those beside the LR photographs (`tags.jsonl` or .txt), at a guidance scale of 1.",
    "No border is cropped. An HR photograph that exceeds the result by less than one LR pixel is cut at the right and at the bottom.",
    "Beside it, bicubic is Keys' cubic with a = -0.5 in float32, lanczos Pillow's with a = 3, both of the LR photograph in 8 bits.",
    "An image without a value (too small for a metric, or without texture for NIQE) is left out of its mean; `n` counts the others.",
    "Beside ours, a result of another size counts as missing, and FID is given where a method has exactly the images that ours has.",
    "std is that of the sample; the interval is the 95 % percentile bootstrap of the mean, 10,000 resamples, fixed seed.",
)
"""How figures come about."""

_RESAMPLES = 10_000
_RESAMPLES_AT_ONCE = 100


def statistics(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation and 95 % bootstrap interval of the values that are finite.

    The interval holds the 2.5 % and the 97.5 % percentile of the means of resamples (Efron 1979), drawn by a generator of fixed key.

    Returns:
        `n`, `mean` (None without values), `std` and `ci95` (None with fewer than two).
    """
    finite = np.array([value for value in values if math.isfinite(value)])
    if not len(finite):
        return {"n": 0, "mean": None, "std": None, "ci95": None}
    if len(finite) == 1:
        return {"n": 1, "mean": float(finite[0]), "std": None, "ci95": None}
    generator = np.random.Generator(np.random.Philox(key=0))
    shape = _RESAMPLES_AT_ONCE, len(finite)
    means = [
        finite[generator.integers(0, len(finite), shape)].mean(1)
        for _ in range(_RESAMPLES // _RESAMPLES_AT_ONCE)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return {
        "n": len(finite),
        "mean": float(finite.mean()),
        "std": float(finite.std(ddof=1)),
        "ci95": [float(low), float(high)],
    }


def card_document(name: str, files: Sequence[Path]) -> dict[str, Any]:
    """Return a metric's card as JSON values, with the SHA-256 of the files of weights that are really used."""
    card = CARDS[name]
    return {
        "pyiqa_name": card.pyiqa_name,
        "arguments": dict(card.arguments),
        "reference": "full" if card.full_reference else "none",
        "direction": "higher is better" if card.higher_is_better else "lower is better",
        "range": card.range,
        "looks_at": f"{card.looks_at}; 8 bits a channel, no border cropped",
        "min_side": card.min_side,
        "weights": [
            {"file": path.name, "source": url(file), "sha256": sha256_of(path)}
            for file, path in zip(card.weights, files, strict=True)
        ],
    }


def versions() -> dict[str, str]:
    """Return the versions of what computes the figures."""
    packages = ("linearsr", "torch", "torchvision", "pyiqa", "timm", "numpy", "scipy", "pillow")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def hardware(device: str) -> dict[str, Any]:
    """Return what the figures are computed on."""
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
    """Return the name of a device: that of the GPU, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
