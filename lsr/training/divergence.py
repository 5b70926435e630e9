"""Divergence: how it is told from noise, and what is written down about it."""

import json
import math
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsr.distributed.tensors import on_all_ranks, own_part
from lsr.files import atomic_path

REPORT = "divergence.json"
"""Name of the report in the folder of a run that has diverged."""


class DivergenceError(RuntimeError):
    """Training has diverged; the command line turns this into exit code 3."""


class RobustScore:
    """How far a new value lies from the recent ones, in robust standard deviations of the logarithm.

    `z = (ln x - median) / (1.4826 MAD)` over a window of accepted values: losses and gradient norms are positive and
    skewed, and median and MAD do not follow the outliers they are to find. Small denominators are held at 0.01.

    Args:
        window: Values remembered.
        warm_up: Values needed before anything is judged.
    """

    def __init__(self, window: int = 300, warm_up: int = 50) -> None:
        self.warm_up = warm_up
        self.values: deque[float] = deque(maxlen=window)

    def __call__(self, value: float) -> float:
        """Return the score of `value`, 0 during warm-up and infinite for a non-finite value."""
        if not math.isfinite(value):
            return math.inf
        if len(self.values) < self.warm_up:
            return 0.0
        known = np.array(self.values)
        median = _median(known)
        return (_log(value) - median) / max(1.4826 * _median(np.abs(known - median)), 0.01)

    def accept(self, value: float) -> None:
        """Let a value into the window."""
        self.values.append(_log(value))


def _median(values: np.ndarray) -> float:
    # np.median takes ten times as long for a few hundred values, and this is done at every step.
    ordered = np.sort(values)
    half = len(ordered) // 2
    return float(ordered[half] + ordered[-half - 1]) / 2


def _log(value: float) -> float:
    return math.log(max(value, 1e-30))


def non_finite(named: Iterable[tuple[str, Tensor | None]], limit: int = 10) -> list[str]:
    """Return the names of the first tensors that hold NaN or infinity, at most `limit`; None is passed over.

    Of sharded tensors all ranks must ask, and get the same answer.
    """
    known = [(name, tensor) for name, tensor in named if tensor is not None]
    if not known:
        return []
    finite = on_all_ranks(
        torch.stack([torch.isfinite(own_part(tensor)).all() for _, tensor in known]), known[0][1]
    )
    return [name for (name, _), good in zip(known, finite.tolist(), strict=True) if not good][
        :limit
    ]


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report of plain values as JSON, atomically; NaN and infinities become the words "nan" and "inf"."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_plain(report), indent=2) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
