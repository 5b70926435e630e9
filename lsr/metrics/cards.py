"""A card per metric: what exactly pyiqa computes, and which files of weights it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class WeightsFile:
    """A file of learned parameters.

    Attributes:
        name: File name.
        folder: Folder where pyiqa looks for the file, relative to `torch.hub.get_dir()`, which is
            `$TORCH_HOME/hub` or `~/.cache/torch/hub`.
        url: Address to download the file from; None means pyiqa's repository of weights on
            Hugging Face.
        sha256: SHA-256 of the file; None if its author publishes none.
    """

    name: str
    folder: str = "pyiqa"
    url: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class MetricCard:
    """Exact definition of a metric.

    Attributes:
        pyiqa_name: Name in `pyiqa.create_metric`.
        full_reference: Whether the metric compares the SR image with another, the HR image unless
            `of_lr`. If False, it is a no-reference metric and judges the SR image alone.
        higher_is_better: Whether a higher value means better quality.
        range: Range and unit of the values.
        looks_at: Colour space, border and crops that enter the metric.
        min_side: Smallest width and height of an image in pixels.
        arguments: Arguments of `pyiqa.create_metric`.
        weights: Files of weights that the metric needs.
        of_sets: Whether the metric compares two sets of images, so that a single image has no
            value.
        of_lr: Whether the metric reduces the SR image to the size of the LR image and compares it
            with the LR image.
    """

    pyiqa_name: str
    full_reference: bool
    higher_is_better: bool
    range: str
    looks_at: str
    min_side: int = 1
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[WeightsFile, ...] = ()
    of_sets: bool = False
    of_lr: bool = False

    @property
    def of_hr(self) -> bool:
        """Whether the metric needs the HR image."""
        return self.full_reference and not self.of_lr


def _torchvision(name: str) -> WeightsFile:
    return WeightsFile(name, "checkpoints", f"https://download.pytorch.org/models/{name}")


_LUMA = {"test_y_channel": True, "color_space": "ycbcr", "crop_border": 0}
_MANIQA_CROPS = (
    "RGB, 20 crops of 224 x 224 on a regular grid that starts at the upper left corner; "
    "a smaller image is enlarged"
)
_CLIP_SHA256 = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"

# The texts `range` and `looks_at` are written to evaluation.json, and `lsr eval` continues a folder
# only if its evaluation.json is unchanged: rewording a card invalidates all earlier evaluations.
CARDS: dict[str, MetricCard] = {
    "psnr_y": MetricCard(
        "psnr",
        full_reference=True,
        higher_is_better=True,
        range="0 to 80 dB (pyiqa adds 1e-8 to the mean squared error)",
        looks_at="Y of ITU-R BT.601 YCbCr, the whole image",
        arguments=_LUMA,
    ),
    "lr_psnr_y": MetricCard(
        "psnr",
        full_reference=True,
        higher_is_better=True,
        range="0 to 80 dB (pyiqa adds 1e-8 to the mean squared error)",
        looks_at="Y of ITU-R BT.601 YCbCr of the LR photograph and of the result, which is reduced "
        "to its size by bicubic interpolation with antialiasing and rounded",
        arguments=_LUMA,
        of_lr=True,
    ),
    "ssim_y": MetricCard(
        "ssim",
        full_reference=True,
        higher_is_better=True,
        range="-1 to 1",
        looks_at="Y of ITU-R BT.601 YCbCr, every whole 11 x 11 window",
        min_side=11,
        arguments=_LUMA,
    ),
    "maniqa": MetricCard(
        "maniqa",
        full_reference=False,
        higher_is_better=True,
        range="about 0 to 1, trained on KonIQ-10k",
        looks_at=_MANIQA_CROPS,
        weights=(WeightsFile("ckpt_koniq10k.pt"),),
    ),
    # On the same images `maniqa-pipal` differs from `maniqa` by about 0.1, because the two networks
    # were trained on different data sets: their values must never be compared.
    "maniqa-pipal": MetricCard(
        "maniqa-pipal",
        full_reference=False,
        higher_is_better=True,
        range="about 0 to 1, trained on PIPAL",
        looks_at=_MANIQA_CROPS,
        weights=(WeightsFile("MANIQA_PIPAL-ae6d356b.pth"),),
    ),
    "musiq": MetricCard(
        "musiq",
        full_reference=False,
        higher_is_better=True,
        range="about 0 to 100, trained on KonIQ-10k",
        looks_at="RGB, the whole image at its own size and with longer sides of 224 and 384",
        weights=(WeightsFile("musiq_koniq_ckpt-e95806b9.pth"),),
    ),
    "clipiqa": MetricCard(
        "clipiqa",
        full_reference=False,
        higher_is_better=True,
        range="0 to 1",
        looks_at="RGB, the whole image, against five pairs of prompts",
        min_side=32,
        weights=(
            WeightsFile(
                "RN50.pt",
                "clip",
                f"https://openaipublic.azureedge.net/clip/models/{_CLIP_SHA256}/RN50.pt",
                _CLIP_SHA256,
            ),
        ),
    ),
    "niqe": MetricCard(
        "niqe",
        full_reference=False,
        higher_is_better=False,
        range="0 and up; NaN for an image without texture",
        looks_at="Y of YIQ, whole blocks of 96 x 96; the rest at the right and bottom is left out",
        min_side=96,
        arguments={"test_y_channel": True, "color_space": "yiq", "crop_border": 0},
        weights=(WeightsFile("niqe_modelparameters.mat"),),
    ),
    "ilniqe": MetricCard(
        "ilniqe",
        full_reference=False,
        higher_is_better=False,
        range="0 and up",
        looks_at="RGB, resized to 524 x 524 whatever its proportions",
        arguments={"crop_border": 0},
        weights=(WeightsFile("ILNIQE_templateModel.mat"),),
    ),
    "brisque": MetricCard(
        "brisque",
        full_reference=False,
        higher_is_better=False,
        range="about 0 to 100, below 0 for some good photographs",
        looks_at="Y of ITU-R BT.601 YCbCr, the whole image at its own size and at half of it",
        min_side=16,
        arguments={"test_y_channel": True},
        weights=(WeightsFile("brisque_svm_weights.pth"),),
    ),
    "lpips": MetricCard(
        "lpips",
        full_reference=True,
        higher_is_better=False,
        range="0 (the same) to about 1",
        looks_at="RGB, the whole image, features of AlexNet, LPIPS version 0.1",
        min_side=32,
        arguments={"net": "alex", "version": "0.1"},
        weights=(
            _torchvision("alexnet-owt-7be5be79.pth"),
            WeightsFile("LPIPS_v0.1_alex-df73285e.pth"),
        ),
    ),
    "dists": MetricCard(
        "dists",
        full_reference=True,
        higher_is_better=False,
        range="0 (the same) to 1",
        looks_at="RGB, the whole image, features of VGG-16",
        min_side=32,
        weights=(_torchvision("vgg16-397923af.pth"), WeightsFile("DISTS_weights-f5e65c96.pth")),
    ),
    "fid": MetricCard(
        "fid",
        full_reference=True,
        higher_is_better=False,
        range="0 and up; biased upwards for few images, so only sets of the same size compare",
        looks_at="RGB, all images at once, each resized to 299 x 299 by Pillow's bicubic filter "
        "(clean-fid), features of Inception v3",
        weights=(WeightsFile("pt_inception-2015-12-05-6726825d.pth"),),
        of_sets=True,
    ),
}

ALIASES = {"psnr": "psnr_y", "ssim": "ssim_y"}
"""Short names that `--metrics` accepts; results are stored under the keys of `CARDS`."""


def without_reference(names: Sequence[str]) -> list[str]:
    """Return the metrics among `names` that need no HR image, in the same order.

    Args:
        names: Keys of `CARDS`.

    Raises:
        ValueError: If all of them need HR images.
    """
    found = [name for name in names if not CARDS[name].of_hr]
    if not found:
        raise ValueError(
            f"the metrics {', '.join(names)} need HR photographs, and there are none: add a metric "
            "without reference, such as niqe"
        )
    return found
