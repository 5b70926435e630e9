"""Degrade a batch with few large operations, as an accelerator needs it.

The parameters and the steps are those of `pipeline`, which degrades one image at a time.

After the first resize every sample has its own size. Samples of similar size form a bucket, and
each bucket has a canvas as large as the largest size that it allows. So the canvas of a sample does
not depend on the other samples. The host knows all sizes, so nothing waits for the device.
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

# Largest factor of the first resize in each bucket. One more bucket goes up to the largest factor
# of the configuration.
_BUCKETS = (0.4, 0.7, 1.0, 1.25)

# Key of the samples that are only reduced by bicubic interpolation.
_IDENTITY = 0.0

Size = tuple[int, int]


def degrade_batch(
    x: Tensor, parameters: Sequence[DegradationParameters], cfg: DegradationConfig
) -> Tensor:
    """Degrade a batch.

    Args:
        x: HR images `(B, 3, H, W)` in [0, 1]; the sides are multiples of the scale.
        parameters: Parameters of each image.
        cfg: Configuration from which the parameters were drawn.

    Returns:
        LR images `(B, 3, H // scale, W // scale)`, clipped to [0, 1] but not rounded.
    """
    height, width = x.shape[-2:]
    lr = x.new_empty(len(parameters), 3, height // cfg.scale, width // cfg.scale)
    for (factor, _), members in _buckets(parameters, cfg).items():
        index = torch.tensor(members).to(x.device, non_blocking=True)
        if factor == _IDENTITY:
            reduced = F.interpolate(x[index], size=lr.shape[-2:], mode="bicubic", antialias=True)
            lr[index] = reduced.clamp_(0, 1)
        else:
            chosen = [parameters[i] for i in members]
            canvas = scaled_size(height, width, factor)
            lr[index] = _degrade_bucket(x[index], chosen, cfg, canvas)
    return lr


def _buckets(
    parameters: Sequence[DegradationParameters], cfg: DegradationConfig
) -> dict[tuple[float, bool], list[int]]:
    """Return the indices of the samples by (largest factor, whether there is a second stage)."""
    buckets: dict[tuple[float, bool], list[int]] = {}
    for i, p in enumerate(parameters):
        factor = _IDENTITY if p.identity else _bucket_bound(p.first.factor, cfg)
        buckets.setdefault((factor, p.second is not None), []).append(i)
    return buckets


def _bucket_bound(factor: float, cfg: DegradationConfig) -> float:
    bounds = (bound for bound in _BUCKETS if factor <= bound)
    return next(bounds, max(cfg.resize_1_range[1], factor))


def _degrade_bucket(
    x: Tensor, parameters: Sequence[DegradationParameters], cfg: DegradationConfig, canvas: Size
) -> Tensor:
    """Degrade samples that all have a second stage or all have none.

    Args:
        x: HR images `(B, 3, H, W)`.
        parameters: Parameters of each image.
        cfg: Configuration from which the parameters were drawn.
        canvas: Height and width, in pixels, in which every image fits after its first resize.
    """
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
        canvas = scaled_size(lr_height, lr_width, cfg.resize_2_range[1])
        x = resize_ragged(x, plans, canvas, cfg.antialias)
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
    """Apply the second JPEG compression to the samples whose `jpeg_last` equals `last`."""
    members = [i for i, p in enumerate(parameters) if p.jpeg_last == last]
    if not members:
        return x
    index = torch.tensor(members).to(x.device, non_blocking=True)
    qualities = [parameters[i].quality_2 for i in members]
    extent = extent[index] if extent else None
    return x.index_copy(0, index, compress(x[index], qualities, cfg.jpeg, extent))
