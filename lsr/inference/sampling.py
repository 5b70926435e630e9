"""From an LR image of any size to its SR image."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.flow.classifier_free import guided
from lsr.flow.samplers import SAMPLERS, Velocity
from lsr.flow.timesteps import timestep_grid
from lsr.models.mixture import Model


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right by its own edge until both sides are multiples of `multiple`."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")


@torch.no_grad()
def super_resolve(
    denoiser: Model,
    lr: Tensor,
    draw_noise: Callable[[tuple[int, ...]], Tensor],
    num_inference_steps: int,
    shift: float,
    sampler: str = "euler",
    context: Tensor | None = None,
    mask: Tensor | None = None,
    guidance_scale: float = 1.0,
    align_steps: bool = False,
) -> Tensor:
    """Sample the SR images of a batch.

    Args:
        denoiser: The velocity field.
        lr: (B, 3, h, w) in [-1, 1], any h, w >= 1. Padded by its edge, never stretched.
        draw_noise: Given the shape (C, H / f, W / f) of one latent, returns standard normal noise (B, C, H / f, W / f).
        num_inference_steps: Steps of the sampler. One step lands near the posterior mean; more add texture.
        shift: The shift of the training times.
        sampler: "euler" or "heun".
        context: Guidance (B, L, context_dim), or indices of the vocabulary (B, L), or None.
        mask: (B, L) bool, True where the context is real; None means all of it.
        guidance_scale: See `lsr.flow.classifier_free`; 1 takes the model as it is, anything else evaluates twice the batch.
        align_steps: Let no step straddle a boundary of experts, see `timestep_grid`.

    Returns:
        (B, 3, scale h, scale w) float32 in [-1, 1].
    """
    start = _begin(denoiser, lr, draw_noise, context, mask, guidance_scale)
    grid = _grid(denoiser, num_inference_steps, shift, align_steps)
    return start.finish(SAMPLERS[sampler](start.velocity, start.noise, grid))


@torch.no_grad()
def super_resolve_together(
    denoiser: Model,
    batches: Sequence[tuple[Tensor, Callable[[tuple[int, ...]], Tensor]]],
    num_inference_steps: int,
    shift: float,
    sampler: str = "euler",
    align_steps: bool = False,
) -> list[Tensor]:
    """Sample the SR images of several batches step by step together, each as `super_resolve` alone would.

    The experts that an evaluation needs are those of its time, which all batches share: each expert is asked for all of them before
    the next one is. With `lsr.experts.offload` n experts so take each other's place n - 1 times, not n times for every batch. It
    costs the memory of what all batches keep between steps: their states and their LR features.

    Args:
        denoiser: The velocity field.
        batches: For each `lr` and `draw_noise`, see `super_resolve`; sizes may differ.
        num_inference_steps: See `super_resolve`.
        shift: See `super_resolve`.
        sampler: See `super_resolve`.
        align_steps: See `super_resolve`.

    Returns:
        For each batch (B, 3, scale h, scale w) float32 in [-1, 1].
    """
    starts = [_begin(denoiser, lr, draw_noise) for lr, draw_noise in batches]
    sizes = [start.noise.numel() for start in starts]

    def parts(x: Tensor) -> list[Tensor]:
        return [
            part.view_as(start.noise) for part, start in zip(x[0].split(sizes), starts, strict=True)
        ]

    def joined(several: Iterable[Tensor]) -> Tensor:
        return torch.cat([x.flatten() for x in several])[None]

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return joined(
            start.velocity(part, t.expand(len(part)))
            for start, part in zip(starts, parts(x), strict=True)
        )

    grid = _grid(denoiser, num_inference_steps, shift, align_steps)
    x_0 = SAMPLERS[sampler](velocity, joined(start.noise for start in starts), grid)
    return [start.finish(part) for start, part in zip(starts, parts(x_0), strict=True)]


class _Start(NamedTuple):
    """One batch before its first step: the field, its noise, and what makes images of its data."""

    velocity: Velocity
    noise: Tensor
    finish: Callable[[Tensor], Tensor]


def _begin(
    denoiser: Model,
    lr: Tensor,
    draw_noise: Callable[[tuple[int, ...]], Tensor],
    context: Tensor | None = None,
    mask: Tensor | None = None,
    guidance_scale: float = 1.0,
) -> _Start:
    height, width = (denoiser.config.scale * side for side in lr.shape[-2:])
    if mask is not None and not mask.any():
        context = mask = (
            None  # nothing to look at: exactly what the masked context would give, for less
        )
    condition = denoiser.condition(pad_to_multiple(lr, denoiser.lr_multiple), context, mask)
    noise = draw_noise(tuple(condition.base.shape[1:]))

    def finish(x_0: Tensor) -> Tensor:
        return denoiser.decode(x_0, condition)[..., :height, :width].clamp(-1, 1)

    if context is None or guidance_scale == 1:
        return _Start(partial(denoiser, condition=condition), noise, finish)
    both = condition.doubled_for_cfg()
    return _Start(guided(partial(denoiser, condition=both), guidance_scale), noise, finish)


def _grid(denoiser: Model, num_inference_steps: int, shift: float, align_steps: bool) -> Tensor:
    boundaries = denoiser.shares.get("boundaries", ()) if align_steps else ()
    return timestep_grid(num_inference_steps, shift, boundaries)
