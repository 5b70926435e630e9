"""Give an SR image back the colours of its LR image, where a model has shifted them.

Images are (C, H, W) float32 in [0, 1], not clipped; "base" is the bicubically upsampled LR image, of the same size.
"""

import tempfile
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.images.rows import ROWS_PER_BLOCK, Rows, RowWindow

_LEVELS = 5
_REACH = 2**_LEVELS - 1
"""Pixels that `low_pass` looks at on each side."""


def adain(sr: Tensor, base: Tensor) -> Tensor:
    """Give each channel the mean and the standard deviation that it has in `base`.

    Adaptive instance normalisation (Huang and Belongie, arXiv 1703.06868, equation 8) of colours, as StableSR
    (arXiv 2305.07015, section 3.4) applies it: (sr - mean(sr)) / std(sr) * std(base) + mean(base).
    """
    return _normalise(sr, _moments([sr]), _moments([base]))


def wavelet(sr: Tensor, base: Tensor) -> Tensor:
    """Keep the high frequencies of `sr` and take the low ones from `base`: sr - low_pass(sr) + low_pass(base).

    The wavelet colour correction of StableSR (arXiv 2305.07015, section 3.4), five levels of the "a trous" wavelet transform.
    """
    return sr + low_pass(base - sr)


def low_pass(image: Tensor) -> Tensor:
    """Blur by (1 2 1)/4 along both axes with holes of 1, 2, 4, 8 and 16 pixels; the image's edge is repeated."""
    kernel = image.new_tensor([1, 2, 1]) / 4
    kernel = (kernel[:, None] * kernel).expand(len(image), 1, 3, 3)
    for level in range(_LEVELS):
        hole = 2**level
        padded = F.pad(image[None], (hole,) * 4, mode="replicate")
        image = F.conv2d(padded, kernel, dilation=hole, groups=len(image))[0]
    return image


def fix_rows(kind: str, sr: Rows, base: Rows, height: int) -> Rows:
    """Correct a stream.

    Args:
        kind: One of `lsr.inference.config.COLOR_FIXES`.
        sr: Blocks of the SR image.
        base: Blocks of the upsampled LR image.
        height: Their rows in all.
    """
    if kind == "adain":
        return _adain_rows(sr, base)
    return _wavelet_rows(sr, base, height) if kind == "wavelet" else sr


def _adain_rows(sr: Rows, base: Rows) -> Rows:
    """Like `adain` of the whole picture, which waits in a temporary file while its mean and deviation are found."""
    with tempfile.TemporaryFile() as file:
        shapes: list[torch.Size] = []

        def kept() -> Rows:
            for block in sr:
                shapes.append(block.shape)
                # 16 bits: half the disk of single precision for an error that 16-bit files make anyway.
                file.write((block.numpy().clip(0, 1) * 65535 + 0.5).astype(np.uint16).tobytes())
                yield block

        before, after = _moments(kept()), _moments(base)
        file.seek(0)
        for shape in shapes:
            block = np.fromfile(file, np.uint16, shape.numel()).astype(np.float32) / 65535
            yield _normalise(torch.from_numpy(block).view(shape), before, after)


def _wavelet_rows(sr: Rows, base: Rows, height: int) -> Rows:
    ours, theirs = RowWindow(sr), RowWindow(base)
    for top in range(0, height, ROWS_PER_BLOCK):
        bottom = min(top + ROWS_PER_BLOCK, height)
        above, below = max(0, top - _REACH), min(height, bottom + _REACH)
        fixed = wavelet(ours.take(above, below), theirs.take(above, below))
        yield fixed[:, top - above : bottom - above]


def _moments(blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each channel, (C, 1, 1)."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for block in blocks:
        values = block.flatten(1).double()
        count, total, squares = (
            count + values.shape[1],
            total + values.sum(1),
            squares + values.square().sum(1),
        )
    mean = total / count
    return mean[:, None, None], (squares / count - mean.square()).clamp(min=0).sqrt()[:, None, None]


def _normalise(
    image: Tensor, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> Tensor:
    gain = after[1] / before[1].clamp(min=1e-6)
    return image * gain.float() + (after[0] - before[0] * gain).float()
