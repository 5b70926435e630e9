"""Classifier-free guidance (arXiv 2207.12598): further along the way from what the model does without context to what it does with it."""

import torch
from torch import Tensor

from lsr.flow.samplers import Velocity


def guided(both: Velocity, scale: float) -> Velocity:
    """Return the guided velocity field `v = v_null + scale (v_context - v_null)`.

    Args:
        both: Velocity field over twice the batch: with context in the first half, without in the second.
        scale: 0 looks away from the context, 1 is the model as it is, more exaggerates.
    """

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        with_context, without = both(torch.cat([x, x]), torch.cat([t, t])).chunk(2)
        return without + scale * (with_context - without)

    return velocity
