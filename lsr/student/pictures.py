"""Pictures of a batch: the student's own, the photographs, and the teacher's results."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Pictures(NamedTuple):
    """A batch of pictures.

    Attributes:
        x_0: The pictures as data (B, C, h, w) of the student's flow.
        image: The same as images (B, 3, H, W) in [-1, 1], those of the student not clipped; None if
            no loss and no discriminator needs images.
    """

    x_0: Tensor
    image: Tensor | None


def real_pictures(
    kind: Literal["hr", "teacher", "both"], hr: Pictures, teacher: Pictures | None
) -> Pictures:
    """Return the pictures that the discriminators see as real, see `StudentConfig.real`.

    With "both", the first half of the batch gives its photographs and the second half the teacher's
    results. A batch of one sample gives its photograph.

    Args:
        kind: Which pictures are real.
        hr: The photographs.
        teacher: The teacher's results; None if `kind` is "hr".
    """
    if kind == "hr":
        return hr
    assert teacher is not None
    return teacher if kind == "teacher" else _halves(hr, teacher)


def _halves(first: Pictures, second: Pictures) -> Pictures:
    """Return the first half of one batch and the second half of another."""
    half = (len(first.x_0) + 1) // 2
    image = None
    if first.image is not None and second.image is not None:
        image = torch.cat([first.image[:half], second.image[half:]])
    return Pictures(torch.cat([first.x_0[:half], second.x_0[half:]]), image)
