"""Upsampling without a model, the baseline that every method has to beat."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lsr.evaluation.data import Item
from lsr.images import Photograph, read_rgb8


def _bicubic(lr: np.ndarray, width: int, height: int) -> np.ndarray:
    planes = torch.from_numpy(lr).permute(2, 0, 1)[None] / 255
    # Like `lsr.images.resampling.upsample_bicubic`, but to any size: the scale of predictions need
    # not be an integer.
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
"""Functions (image (h, w, 3) uint8, width, height) -> (height, width, 3) float32, by name.

In the result 1 is white; values are not clipped. `bicubic` uses Keys' cubic kernel with a = -0.5 in
float32, as usual in super-resolution. `lanczos` is Pillow's, with a = 3, and rounds to 8 bits.
"""


def upsampled(item: Item, method: str) -> Photograph:
    """Return the LR photograph of an item upsampled to the item's `size`, not clipped.

    Args:
        item: Item with a `size`.
        method: Key of `UPSAMPLINGS`.

    Raises:
        UnreadableImage: If the LR photograph cannot be read.
    """
    assert item.size is not None
    return Photograph(UPSAMPLINGS[method](read_rgb8(item.lr), *item.size))
