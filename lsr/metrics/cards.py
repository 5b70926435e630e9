"""A card per metric: what exactly is computed, and which file it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class WeightsFile:
    """A file of learned parameters.

    Attributes:
        name: File name.
        folder: Where pyiqa looks for it, below `torch.hub.get_dir()`, which is `$TORCH_HOME/hub` or `~/.cache/torch/hub`.
        url: Where it comes from; None is the repository of pyiqa's weights on Hugging Face.
        sha256: Digest of the file, where its author publishes one.
    """

    name: str
    folder: str = "pyiqa"
    url: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class MetricCard:
    """What a metric is, to the letter.

    Attributes:
        pyiqa_name: Name in `pyiqa.create_metric`.
        full_reference: Compares with the HR image; the others (no-reference) look at the SR image alone.
        higher_is_better: Direction.
        range: Values and unit.
        looks_at: Colour space, border and crops.
        min_side: Fewest pixels a side.
        handcrafted: A formula rather than a network: computed in float64, which no setting of a training shortens.
        arguments: Arguments of `pyiqa.create_metric`.
        weights: The file it needs.
    """

    pyiqa_name: str
    full_reference: bool
    higher_is_better: bool
    range: str
    looks_at: str
    min_side: int = 1
    handcrafted: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: WeightsFile | None = None


_LUMA = {"test_y_channel": True, "color_space": "ycbcr", "crop_border": 0}
_MANIQA_CROPS = "RGB, 20 crops of 224 x 224 on a regular grid that starts at the upper left corner; a smaller image is enlarged"
_CLIP_SHA256 = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"

CARDS: dict[str, MetricCard] = {
    "psnr_y": MetricCard(
        "psnr",
        full_reference=True,
        higher_is_better=True,
        range="0 to 80 dB (pyiqa adds 1e-8 to the mean squared error)",
        looks_at="Y of ITU-R BT.601 YCbCr, the whole image",
        handcrafted=True,
        arguments=_LUMA,
    ),
    "ssim_y": MetricCard(
        "ssim",
        full_reference=True,
        higher_is_better=True,
        range="-1 to 1",
        looks_at="Y of ITU-R BT.601 YCbCr, every whole 11 x 11 window",
        min_side=11,
        handcrafted=True,
        arguments=_LUMA,
    ),
    "maniqa": MetricCard(
        "maniqa",
        full_reference=False,
        higher_is_better=True,
        range="about 0 to 1, trained on KonIQ-10k",
        looks_at=_MANIQA_CROPS,
        weights=WeightsFile("ckpt_koniq10k.pt"),
    ),
    # On the same images it differs from `maniqa` by about 0.1: the two must never be compared.
    "maniqa-pipal": MetricCard(
        "maniqa-pipal",
        full_reference=False,
        higher_is_better=True,
        range="about 0 to 1, trained on PIPAL",
        looks_at=_MANIQA_CROPS,
        weights=WeightsFile("MANIQA_PIPAL-ae6d356b.pth"),
    ),
    "musiq": MetricCard(
        "musiq",
        full_reference=False,
        higher_is_better=True,
        range="about 0 to 100, trained on KonIQ-10k",
        looks_at="RGB, the whole image at its own size and with longer sides of 224 and 384",
        weights=WeightsFile("musiq_koniq_ckpt-e95806b9.pth"),
    ),
    "clipiqa": MetricCard(
        "clipiqa",
        full_reference=False,
        higher_is_better=True,
        range="0 to 1",
        looks_at="RGB, the whole image, against five pairs of prompts",
        min_side=32,
        weights=WeightsFile("RN50.pt", "clip", f"https://openaipublic.azureedge.net/clip/models/{_CLIP_SHA256}/RN50.pt", _CLIP_SHA256),
    ),
    "niqe": MetricCard(
        "niqe",
        full_reference=False,
        higher_is_better=False,
        range="0 and up; NaN for an image without texture",
        looks_at="Y of YIQ, whole blocks of 96 x 96; the rest at the right and bottom is left out",
        min_side=96,
        handcrafted=True,
        arguments={"test_y_channel": True, "color_space": "yiq", "crop_border": 0},
        weights=WeightsFile("niqe_modelparameters.mat"),
    ),
}
