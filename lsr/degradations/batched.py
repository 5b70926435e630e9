"""Degrade a batch with few large operations, for an accelerator: the same parameters and steps as one image at a time.

Every sample has a size of its own after the first resize. The samples are put into buckets by that size; each bucket works on a
canvas as large as its largest allowed size, so a sample's canvas never depends on its neighbours. All sizes are known on the host, and
nothing waits for the device.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lsr.degradations.canvas import Extent
from lsr.degradations.config import DegradationConfig
from lsr.degradations.filtering import blur_ragged
from lsr.degradations.jpeg import compress
from lsr.degradations.kernels import make_kernels
from lsr.degradations.noise import add_noise_ragged
from lsr.degradations.parameters import DegradationParameters, Kernel
from lsr.degradations.resizing import plan, resize_ragged, scaled_size

_BUCKETS = (
    0.4,
    0.7,
    1.0,
    1.25,
)  # upper bounds of the first resize factor; the last bucket ends at the largest factor of all

Size = tuple[int, int]


def degrade_batch(
    x: Tensor, parameters: Sequence[DegradationParameters], cfg: DegradationConfig
) -> Tensor:
    """Degrade `(B, 3, H, W)`, sides multiples of the scale; return `(B, 3, H // scale, W // scale)`, clipped but not rounded."""
    height, width = x.shape[-2:]
    lr = x.new_empty(len(parameters), 3, height // cfg.scale, width // cfg.scale)
    buckets: dict[tuple[float, bool], list[int]] = {}
    for i, p in enumerate(parameters):
        factor = 0.0 if p.identity else _ceiling(p.first.factor, cfg)
        buckets.setdefault((factor, p.second is not None), []).append(i)
    for (factor, _), members in buckets.items():
        index = torch.tensor(members).to(x.device, non_blocking=True)
        if factor == 0:
            lr[index] = F.interpolate(
                x[index], size=lr.shape[-2:], mode="bicubic", antialias=True
            ).clamp_(0, 1)
        else:
            lr[index] = _degrade_bucket(
                x[index], [parameters[i] for i in members], cfg, scaled_size(height, width, factor)
            )
    return lr


def _ceiling(factor: float, cfg: DegradationConfig) -> float:
    return next(
        (bound for bound in _BUCKETS if factor <= bound), max(cfg.resize_1_range[1], factor)
    )


def _degrade_bucket(
    x: Tensor, parameters: Sequence[DegradationParameters], cfg: DegradationConfig, canvas: Size
) -> Tensor:
    """Degrade samples that all have a second stage or all have none, and whose first sizes fit into `canvas`."""
    height, width = x.shape[-2:]
    lr_size = height // cfg.scale, width // cfg.scale
    generators = [Generator(x.device).manual_seed(p.noise_seed) for p in parameters]
    firsts = [p.first for p in parameters]

    x = _blur(x, [stage.kernel for stage in firsts])
    sizes = [scaled_size(height, width, stage.factor) for stage in firsts]
    plans = [
        plan(height, width, size, stage.mode, None if cfg.aligned else stage.factor)
        for stage, size in zip(firsts, sizes, strict=True)
    ]
    x = resize_ragged(x, plans, canvas, cfg.antialias)
    x = add_noise_ragged(x, firsts, sizes, generators)
    x = compress(x, [p.quality_1 for p in parameters], cfg.jpeg, Extent.of(sizes, x.device))

    seconds = [p.second for p in parameters if p.second]
    if seconds:
        x = _blur(x, [stage.kernel for stage in seconds], Extent.of(sizes, x.device))
        lr_height, lr_width = height / cfg.scale, width / cfg.scale
        targets = [scaled_size(lr_height, lr_width, stage.factor) for stage in seconds]
        plans = [
            plan(*size, target, stage.mode)
            for size, target, stage in zip(sizes, targets, seconds, strict=True)
        ]
        x = resize_ragged(
            x, plans, scaled_size(lr_height, lr_width, cfg.resize_2_range[1]), cfg.antialias
        )
        sizes = targets
        x = add_noise_ragged(x, seconds, sizes, generators)

    x = _compress_some(x, parameters, cfg, last=False, extent=Extent.of(sizes, x.device))
    plans = [plan(*size, lr_size, p.final_mode) for size, p in zip(sizes, parameters, strict=True)]
    x = resize_ragged(x, plans, lr_size, cfg.antialias)
    x = _blur(x, [p.final_sinc for p in parameters]).clamp(0, 1)
    return _compress_some(x, parameters, cfg, last=True)


def _blur(x: Tensor, kernels: Sequence[Kernel | None], extent: Extent | None = None) -> Tensor:
    size = max((kernel.size for kernel in kernels if kernel), default=0)
    return blur_ragged(x, make_kernels(kernels, x.device), size, extent) if size else x


def _compress_some(
    x: Tensor,
    parameters: Sequence[DegradationParameters],
    cfg: DegradationConfig,
    last: bool,
    extent: Extent | None = None,
) -> Tensor:
    """Apply the second JPEG to those samples that have it at this place."""
    members = [i for i, p in enumerate(parameters) if p.jpeg_last == last]
    if not members:
        return x
    index = torch.tensor(members).to(x.device, non_blocking=True)
    some = compress(
        x[index],
        [parameters[i].quality_2 for i in members],
        cfg.jpeg,
        extent[index] if extent else None,
    )
    return x.index_copy(0, index, some)
