"""Colour correction: give an SR image the colours of its LR image, which a model may have shifted.

Images are (C, H, W) float32, nominally in [0, 1] but not clipped. "base" is the bicubically
upsampled LR image; it has the size of the SR image.
"""

from collections.abc import Iterable
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.images.rows import ROWS_PER_BLOCK, Rows, RowWindow
from lsr.inference.temporary_file import BlockFile

_LEVELS = 5
"""Levels of the wavelet transform."""

_REACH = 2**_LEVELS - 1
"""Pixels on each side that `low_pass` depends on: 1 + 2 + 4 + 8 + 16."""


class Moments(NamedTuple):
    """Statistics of an image.

    Attributes:
        mean: Mean of each channel, (C, 1, 1) float64.
        deviation: Standard deviation of each channel, (C, 1, 1) float64.
    """

    mean: Tensor
    deviation: Tensor


def adain(sr: Tensor, base: Tensor) -> Tensor:
    """Return `sr` with the mean and the standard deviation that each channel has in `base`.

    This is adaptive instance normalisation (Huang and Belongie, arXiv 1703.06868, equation 8) of
    colours, as in StableSR (arXiv 2305.07015, section 3.4):
    (sr - mean(sr)) / std(sr) * std(base) + mean(base).
    """
    return _normalise(sr, _moments([sr]), _moments([base]))


def wavelet(sr: Tensor, base: Tensor) -> Tensor:
    """Return the high frequencies of `sr` plus the low frequencies of `base`.

    This is the wavelet colour correction of StableSR (arXiv 2305.07015, section 3.4), with five
    levels of the "a trous" wavelet transform: sr - low_pass(sr) + low_pass(base).
    """
    # low_pass is linear: one transform of the difference replaces two.
    return sr + low_pass(base - sr)


def low_pass(image: Tensor) -> Tensor:
    """Return the image blurred by (1 2 1) / 4 along both axes, at dilations 1, 2, 4, 8 and 16.

    Beyond the edge the last row and column are repeated.
    """
    kernel = image.new_tensor([1, 2, 1]) / 4
    kernel = (kernel[:, None] * kernel).expand(len(image), 1, 3, 3)
    for level in range(_LEVELS):
        dilation = 2**level
        padded = F.pad(image[None], (dilation,) * 4, mode="replicate")
        image = F.conv2d(padded, kernel, dilation=dilation, groups=len(image))[0]
    return image


def fix_rows(kind: str, sr: Rows, base: Rows, height: int) -> Rows:
    """Return the corrected rows of an SR image.

    Args:
        kind: Colour correction, one of `lsr.inference.config.COLOR_FIXES`.
        sr: Blocks of the SR image.
        base: Blocks of the upsampled LR image.
        height: Number of rows of both.
    """
    if kind == "adain":
        return _adain_rows(sr, base)
    if kind == "wavelet":
        return _wavelet_rows(sr, base, height)
    return sr


def _adain_rows(sr: Rows, base: Rows) -> Rows:
    """Yield the rows that `adain` gives for the whole image.

    The statistics need the whole image first: meanwhile it is kept in a temporary file.
    """
    with closing(BlockFile(np.uint16)) as file:

        def kept() -> Rows:
            for block in sr:
                # 16 bits take half the disk space of float32. The rounding error is that of a
                # 16-bit file.
                levels = block.numpy().clip(0, 1)
                levels *= 65535
                levels += 0.5
                file.write(levels)
                yield block

        before = _moments(kept())
        after = _moments(base)
        gain, shift = (x.numpy().astype(np.float32) for x in _change(before, after))
        for levels in file.read():
            # numpy, because PyTorch would wait for the threads that compress earlier rows.
            block = levels * (gain / 65535)
            block += shift
            yield torch.from_numpy(block)


def _wavelet_rows(sr: Rows, base: Rows, height: int) -> Rows:
    """Yield the rows that `wavelet` gives for the whole image."""
    sr_window = RowWindow(sr)
    base_window = RowWindow(base)
    for top in range(0, height, ROWS_PER_BLOCK):
        bottom = min(top + ROWS_PER_BLOCK, height)
        above = max(0, top - _REACH)
        below = min(height, bottom + _REACH)
        fixed = wavelet(sr_window.take(above, below), base_window.take(above, below))
        yield fixed[:, top - above : bottom - above]


def _moments(blocks: Iterable[Tensor]) -> Moments:
    """Return the statistics of an image that comes in blocks of rows."""
    count = 0
    total = torch.zeros(())
    squares = torch.zeros(())
    for block in blocks:
        values = block.flatten(1).double()
        count += values.shape[1]
        total = total + values.sum(1)
        squares = squares + values.square_().sum(1)
    mean = total / count
    # Var = E[x^2] - E[x]^2. Rounding can make it slightly negative for a flat image.
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    return Moments(mean[:, None, None], deviation[:, None, None])


def _normalise(image: Tensor, before: Moments, after: Moments) -> Tensor:
    """Return the image moved from the statistics `before` to the statistics `after`."""
    gain, shift = _change(before, after)
    return image * gain.float() + shift.float()


def _change(before: Moments, after: Moments) -> tuple[Tensor, Tensor]:
    """Return the gain and the shift (C, 1, 1) that turn the statistics `before` into `after`."""
    gain = after.deviation / before.deviation.clamp(min=1e-6)
    return gain, after.mean - before.mean * gain
