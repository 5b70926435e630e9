"""Steps between the sampler's rows and a finished photograph: checks, grey, alpha, collecting."""

import numpy as np
import torch

from lsr.images.photograph import Photograph, PictureStream
from lsr.images.rows import Rows, RowWindow

_LUMA = torch.tensor([0.299, 0.587, 0.114])
"""Weights of red, green and blue in luma (ITU-R BT.601)."""


def checked(rows: Rows) -> Rows:
    """Yield the blocks (C, r, W) of a stream.

    Raises:
        ValueError: If the rows have NaN.
    """
    for block in rows:
        # Checked here because the colour fix goes through integers, which turn NaN into black.
        if block.isnan().any():
            raise ValueError(
                "the model computes pixels that are not numbers (NaN): its training has diverged, "
                "or its file is damaged"
            )
        yield block


def grey_rows(rows: Rows) -> Rows:
    """Yield RGB rows (3, r, W) whose three channels are the luma of the given RGB rows."""
    for block in rows:
        luma = (_LUMA @ block.flatten(1)).view(1, *block.shape[1:])
        yield luma.expand(3, -1, -1)


def with_alpha(rows: Rows, alpha: Rows) -> Rows:
    """Yield rows (4, r, W): an RGB stream (3, r, W) and an alpha stream (1, r, W) joined."""
    window = RowWindow(alpha)
    top = 0
    for block in rows:
        bottom = top + block.shape[1]
        yield torch.cat([block, window.take(top, bottom)])
        top = bottom


def collect(picture: PictureStream) -> Photograph:
    """Return a stream as a photograph in memory, clipped to [0, 1]."""
    like = picture.like
    pixels = np.empty((picture.height, picture.width, 3), np.float32)
    alpha = None if like.alpha is None else np.empty(pixels.shape[:2], np.float32)
    top = 0
    for block in picture.blocks:
        block = block.clip(0, 1)
        bottom = top + len(block)
        pixels[top:bottom] = block[..., :3]
        if alpha is not None:
            alpha[top:bottom] = block[..., 3]
        top = bottom
    return Photograph(pixels, alpha, like.bits, like.grey, like.icc, like.exif, like.xmp, like.dpi)
