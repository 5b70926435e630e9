"""Combine velocities with and without context: classifier-free guidance (arXiv 2207.12598)."""

import torch
from torch import Tensor

from lsr.flow.samplers import Velocity


def guided(both: Velocity, scale: float) -> Velocity:
    """Return the guided velocity field `v = v_null + scale (v_context - v_null)`.

    Args:
        both: Velocity field over twice the batch: the first half has the context, the second half
            has none.
        scale: Guidance scale: 0 ignores the context, 1 is the model without guidance, larger
            values strengthen the effect of the context.

    Returns:
        Velocity field over the batch, which evaluates `both` once per call.
    """

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return extrapolated(both(torch.cat([x, x]), torch.cat([t, t])), scale)

    return velocity


def extrapolated(both: Tensor, scale: float) -> Tensor:
    """Return the guided velocity (B, ...) of the velocities with and without context (2 B, ...)."""
    with_context, without = both.chunk(2)
    return without + scale * (with_context - without)
