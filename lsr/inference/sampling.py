"""Sample the SR images of a batch of LR images."""

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

DrawNoise = Callable[[tuple[int, ...]], Tensor]
"""Given the shape (C, H / f, W / f) of one latent, returns normal noise (B, C, H / f, W / f)."""


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, H, W) at the bottom and the right until both sides are multiples of `multiple`.

    The padding repeats the last row and the last column.
    """
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")


@torch.no_grad()
def super_resolve(
    denoiser: Model,
    lr: Tensor,
    draw_noise: DrawNoise,
    num_inference_steps: int,
    shift: float,
    *,
    sampler: str = "euler",
    context: Tensor | None = None,
    mask: Tensor | None = None,
    guidance_scale: float = 1.0,
    align_steps: bool = False,
) -> Tensor:
    """Sample the SR images of a batch.

    Args:
        denoiser: The velocity field.
        lr: LR images (B, 3, h, w) in [-1, 1], any h, w >= 1. They are padded, never stretched.
        draw_noise: Source of the noise that sampling starts from.
        num_inference_steps: Number of sampling steps. One step lands near the posterior mean; more
            steps add texture.
        shift: Shift of the noise schedule, the same as in training.
        sampler: "euler" or "heun".
        context: Guidance (B, L, context_dim), or indices of the vocabulary (B, L), or None.
        mask: (B, L) bool, True for the tokens that count; None if all of them count.
        guidance_scale: Scale of classifier-free guidance, see `lsr.flow.classifier_free`. 1 turns
            it off; any other value evaluates twice the batch.
        align_steps: Whether steps begin and end at the boundaries between experts, see
            `lsr.flow.timesteps.timestep_grid`.

    Returns:
        SR images (B, 3, scale h, scale w) float32 in [-1, 1].
    """
    start = _prepare(denoiser, lr, draw_noise, context, mask, guidance_scale)
    grid = _grid(denoiser, num_inference_steps, shift, align_steps)
    return start.finish(SAMPLERS[sampler](start.velocity, start.noise, grid))


@torch.no_grad()
def super_resolve_together(
    denoiser: Model,
    batches: Sequence[tuple[Tensor, DrawNoise]],
    num_inference_steps: int,
    shift: float,
    *,
    sampler: str = "euler",
    align_steps: bool = False,
) -> list[Tensor]:
    """Sample the SR images of several batches, all of them step by step at the same time.

    The results equal those of `super_resolve` for each batch. The time of a step decides which
    expert evaluates it, so here one expert evaluates all batches before the next expert is needed.
    With `lsr.experts.offload`, n experts then replace each other n - 1 times for all batches
    together, not n times for every batch. The price is the memory that all batches keep between
    steps: their states and their LR features.

    Args:
        denoiser: The velocity field.
        batches: `lr` and `draw_noise` of each batch, see `super_resolve`; sizes may differ.
        num_inference_steps: See `super_resolve`.
        shift: See `super_resolve`.
        sampler: See `super_resolve`.
        align_steps: See `super_resolve`.

    Returns:
        For each batch its SR images (B, 3, scale h, scale w) float32 in [-1, 1].
    """
    starts = [_prepare(denoiser, lr, draw_noise) for lr, draw_noise in batches]
    sizes = [start.noise.numel() for start in starts]

    # A sampler knows only one state. It gets those of all batches, joined into one row (1, N).
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
    """One batch before its first step.

    Attributes:
        velocity: The velocity field.
        noise: State at t = 1.
        finish: Function that decodes the state at t = 0 into images.
    """

    velocity: Velocity
    noise: Tensor
    finish: Callable[[Tensor], Tensor]


def _prepare(
    denoiser: Model,
    lr: Tensor,
    draw_noise: DrawNoise,
    context: Tensor | None = None,
    mask: Tensor | None = None,
    guidance_scale: float = 1.0,
) -> _Start:
    height, width = (denoiser.config.scale * side for side in lr.shape[-2:])
    if mask is not None and not mask.any():
        # A context that is masked everywhere has no effect: leaving it out is the same and cheaper.
        context = mask = None
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
