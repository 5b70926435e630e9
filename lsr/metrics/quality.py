"""One adapter to pyiqa, and one card per metric that says exactly what is computed."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class MetricCard:
    """What a metric is, to the letter.

    Attributes:
        pyiqa_name: Name in `pyiqa.create_metric`.
        full_reference: Compares with the HR image.
        higher_is_better: Direction.
        unit: What the number means.
        arguments: Arguments of `pyiqa.create_metric`.
    """

    pyiqa_name: str
    full_reference: bool
    higher_is_better: bool
    unit: str
    arguments: dict[str, Any] = field(default_factory=dict)


_LUMA = {"test_y_channel": True, "color_space": "ycbcr"}

CARDS: dict[str, MetricCard] = {
    "psnr_y": MetricCard("psnr", True, True, "dB, on the Y of ITU-R BT.601 YCbCr, no border cropped", _LUMA),
    "ssim_y": MetricCard("ssim", True, True, "in [-1, 1], on the Y of ITU-R BT.601 YCbCr, no border cropped", _LUMA),
}


class Quality:
    """Computes several metrics per image.

    Args:
        names: Keys of `CARDS`.

    Raises:
        ValueError: If a name is unknown.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        unknown = sorted(set(names) - CARDS.keys())
        if unknown:
            raise ValueError(f"unknown metric {', '.join(unknown)}; known are {', '.join(CARDS)}")
        import pyiqa  # 3 s, and only validation needs it

        # pyiqa picks a GPU by itself; the images decide instead.
        self._metrics = {
            name: pyiqa.create_metric(CARDS[name].pyiqa_name, device=torch.device("cpu"), **CARDS[name].arguments) for name in names
        }

    def __call__(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """Compare as the files would compare: clipped and rounded to 8 bits.

        Args:
            sr: (B, 3, H, W) in [-1, 1].
            hr: (B, 3, H, W) in [-1, 1].

        Returns:
            For each metric its values (B,), float32.
        """
        sr, hr = (((x.float().clamp(-1, 1) + 1) * 127.5).round() / 255 for x in (sr, hr))
        return {name: metric.to(sr.device)(sr, hr).reshape(-1).float() for name, metric in self._metrics.items()}
