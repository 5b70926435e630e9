"""Statistics of rows, and a description of what determines them, for `summary.json`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.files import sha256_of
from lsr.metrics.cards import CARDS, MetricCard
from lsr.metrics.weights import url

CONVENTIONS = (
    "Metrics are computed from 8-bit RGB: of the PNG file of the result, and of the HR file.",
    "A result of a model is exactly `scale` times as large as the LR photograph. Inside the model "
    "photographs are extended on each side by their outermost pixels, and never stretched or cut "
    "into tiles.",
    "The colours of a model's result are fitted to those of the LR photograph by the method "
    "`color_fix` (`lsr upscale --color-fix`).",
    "A model that is guided by tags reads them from the folder of the LR photographs "
    "(`tags.jsonl` or .txt); the guidance scale is 1.",
    "No border is cropped. An HR photograph that exceeds the result by less than one LR pixel is "
    "cut at the right and at the bottom.",
    "In comparisons, bicubic is Keys' cubic with a = -0.5 in float32, and lanczos is Pillow's with "
    "a = 3. Both upsample the LR photograph in 8 bits.",
    "An image without a value (too small for a metric, or without texture for NIQE) is left out of "
    "the mean; `n` is the number of the other images.",
    "In comparisons, a result of another size than ours counts as missing, and FID is given only "
    "for a method that has results of exactly the same images as ours.",
    "std is the standard deviation of the sample; the interval is the 95 % percentile bootstrap of "
    "the mean, 10,000 resamples, fixed seed.",
)
"""Definition of the values, in sentences for the report."""

PACKAGES = ("linearsr", "torch", "torchvision", "pyiqa", "timm", "numpy", "scipy", "pillow")
"""Packages that influence the values."""

_RESAMPLES = 10_000
_RESAMPLES_AT_ONCE = 100
"""Resamples that are in memory at the same time; changing it would change the random draws."""


def statistics(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation and 95 % bootstrap interval of the finite values.

    The interval reaches from the 2.5 % to the 97.5 % percentile of the means of resamples (Efron,
    "Bootstrap methods: another look at the jackknife", 1979). The seed of the resamples is fixed.

    Args:
        values: Values of single images; those that are not finite are left out.

    Returns:
        The number `n` of finite values, their `mean` (None if `n` is 0), and their sample standard
        deviation `std` and interval `ci95` (None if `n` is less than 2).
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
    """Return the card of a metric as JSON values, part of the settings in `evaluation.json`.

    Args:
        name: Key of `CARDS`.
        files: Files of weights that are in use, in the order of the card; their SHA-256 is
            included.
    """
    card = CARDS[name]
    return {
        "pyiqa_name": card.pyiqa_name,
        "arguments": dict(card.arguments),
        "reference": _reference(card),
        "direction": "higher is better" if card.higher_is_better else "lower is better",
        "range": card.range,
        "looks_at": f"{card.looks_at}; 8 bits a channel, no border cropped",
        "min_side": card.min_side,
        "weights": [
            {"file": path.name, "source": url(file), "sha256": sha256_of(path)}
            for file, path in zip(card.weights, files, strict=True)
        ],
    }


def _reference(card: MetricCard) -> str:
    """Return which image a metric compares the result with."""
    if not card.full_reference:
        return "none"
    return "LR" if card.of_lr else "full"
