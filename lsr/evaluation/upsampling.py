"""Upsampling without a model: what every method has to beat."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lsr.evaluation.data import Item
from lsr.images import Photograph, read_rgb8


def _bicubic(lr: np.ndarray, width: int, height: int) -> np.ndarray:
    planes = torch.from_numpy(lr).permute(2, 0, 1)[None] / 255
    # What `lsr.images.resampling.upsample_bicubic` does, but to any size: predictions need not be a whole number of times as large.
    large = F.interpolate(planes, (height, width), mode="bicubic", antialias=True)
    return large[0].permute(1, 2, 0).numpy()


def _lanczos(lr: np.ndarray, width: int, height: int) -> np.ndarray:
    return (
        np.asarray(
            Image.fromarray(lr).resize((width, height), Image.Resampling.LANCZOS), np.float32
        )
        / 255
    )


UPSAMPLINGS: Mapping[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "bicubic": _bicubic,
    "lanczos": _lanczos,
}
"""(h, w, 3) uint8, width and height -> (height, width, 3) float32, 1 is white, not clipped.

`bicubic` is that of the field, Keys' cubic with a = -0.5 in float32; `lanczos` is Pillow's, a = 3, which rounds to 8 bits.
"""


def upsampled(item: Item, method: str) -> Photograph:
    """Upsample the LR photograph of an image to its `size`; samples are not clipped yet.

    Raises:
        UnreadableImage: As for `read_rgb8`.
    """
    assert item.size is not None
    return Photograph(UPSAMPLINGS[method](read_rgb8(item.lr), *item.size))
