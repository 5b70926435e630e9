"""From an LR image of any size to its SR image."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.denoiser import Denoiser
from lsr.experts import ExpertMixture
from lsr.flow.samplers import SAMPLERS
from lsr.flow.timesteps import timestep_grid


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right by its own edge until both sides are multiples of `multiple`."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")


@torch.no_grad()
def super_resolve(
    denoiser: Denoiser | ExpertMixture,
    lr: Tensor,
    draw_noise: Callable[[tuple[int, ...]], Tensor],
    num_inference_steps: int,
    shift: float,
    sampler: str = "euler",
    context: Tensor | None = None,
    mask: Tensor | None = None,
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
        context: Guidance (B, L, context_dim), or None.
        mask: (B, L) bool, True where the context is real, or None.
        align_steps: Let no step straddle a boundary of experts, see `timestep_grid`.

    Returns:
        (B, 3, scale h, scale w) float32 in [-1, 1].
    """
    scale = denoiser.config.scale
    height, width = lr.shape[-2:]
    condition = denoiser.condition(pad_to_multiple(lr, denoiser.lr_multiple), context, mask)
    noise = draw_noise(tuple(condition.base.shape[1:]))
    boundaries = denoiser.boundaries if align_steps and isinstance(denoiser, ExpertMixture) else ()
    grid = timestep_grid(num_inference_steps, shift, boundaries)
    x_0 = SAMPLERS[sampler](lambda x, t: denoiser(x, t, condition), noise, grid)
    return denoiser.decode(x_0, condition)[..., : scale * height, : scale * width].clamp(-1, 1)
