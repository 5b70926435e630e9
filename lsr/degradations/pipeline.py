"""Degrade HR images with drawn parameters."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lsr.degradations.batched import degrade_batch
from lsr.degradations.config import DegradationConfig
from lsr.degradations.filtering import blur, unsharp_mask
from lsr.degradations.jpeg import compress
from lsr.degradations.kernels import make_kernels
from lsr.degradations.noise import add_gaussian, add_poisson
from lsr.degradations.parameters import DegradationParameters, Stage
from lsr.degradations.resizing import resize, scaled_size


def apply(
    hr: Tensor, parameters: Sequence[DegradationParameters], cfg: DegradationConfig
) -> Tensor:
    """Return the LR images of a batch; each image has its own parameters.

    The result of a sample depends only on its image, its parameters and `cfg`: on one type of
    device it is the same to the last bit in any batch.

    Args:
        hr: HR images `(B, 3, H, W)` in [0, 1], both sides at least `cfg.scale`. They are cropped at
            the right and at the bottom to multiples of the scale.
        parameters: Parameters of each image, from `draw`.
        cfg: Configuration from which the parameters were drawn.

    Returns:
        LR images `(B, 3, H // scale, W // scale)`, float32 in [0, 1], on the device of `hr`.

    Raises:
        ValueError: The shapes do not fit, or `cfg.jpeg` is "libjpeg" and `hr` is not on the CPU.
    """
    return pair(hr, parameters, cfg)[1]


def pair(
    hr: Tensor, parameters: Sequence[DegradationParameters], cfg: DegradationConfig
) -> tuple[Tensor, Tensor]:
    """Return the training targets and the LR images of a batch.

    Args:
        hr: HR images, see `apply`.
        parameters: Parameters of each image, see `apply`.
        cfg: Configuration, see `apply`.

    Returns:
        The cropped HR images `(B, 3, scale h, scale w)`, sharpened if `cfg.usm_target` is set, and
        the LR images `(B, 3, h, w)`.

    Raises:
        ValueError: See `apply`.
    """
    _check_shapes(hr, parameters, cfg)
    height, width = (side - side % cfg.scale for side in hr.shape[2:])
    with torch.no_grad(), torch.autocast(hr.device.type, enabled=False):
        hr = hr[..., :height, :width].float()
        sharp = hr
        if cfg.usm_lr or cfg.usm_target:
            sharp = torch.stack([unsharp_mask(image) for image in hr])
        source = sharp if cfg.usm_lr else hr
        if hr.device.type == "cpu":
            images = zip(source, parameters, strict=True)
            lr = torch.stack([_degrade(image, p, cfg) for image, p in images])
        else:
            lr = degrade_batch(source, parameters, cfg)
        if cfg.quantise:
            lr = lr.mul_(255).round_().div_(255)
    return sharp if cfg.usm_target else hr, lr


def _check_shapes(
    hr: Tensor, parameters: Sequence[DegradationParameters], cfg: DegradationConfig
) -> None:
    if hr.ndim != 4 or hr.shape[1] != 3 or min(hr.shape[2:]) < cfg.scale:
        raise ValueError(
            f"hr must be (B, 3, H, W) with sides of at least {cfg.scale}, got {tuple(hr.shape)}"
        )
    if hr.shape[0] != len(parameters):
        raise ValueError(f"{hr.shape[0]} images but {len(parameters)} parameters")


def _degrade(x: Tensor, p: DegradationParameters, cfg: DegradationConfig) -> Tensor:
    """Degrade one image `(3, H, W)`; the result is clipped to [0, 1] but not rounded."""
    height, width = x.shape[-2:]
    lr_size = height // cfg.scale, width // cfg.scale
    if p.identity:
        return F.interpolate(x[None], size=lr_size, mode="bicubic", antialias=True)[0].clamp_(0, 1)
    generator = Generator(x.device).manual_seed(p.noise_seed)
    stages = [p.first, p.second] if p.second else [p.first]
    kernels = make_kernels([*(stage.kernel for stage in stages), p.final_sinc], x.device)

    size = scaled_size(height, width, p.first.factor)
    factor = None if cfg.aligned else p.first.factor
    x = _stage(x, p.first, kernels[0], size, cfg, generator, factor)
    x = _jpeg(x, p.quality_1, cfg)
    if p.second:
        size = scaled_size(height / cfg.scale, width / cfg.scale, p.second.factor)
        x = _stage(x, p.second, kernels[1], size, cfg, generator)

    if not p.jpeg_last:
        x = _jpeg(x, p.quality_2, cfg)
    x = resize(x, lr_size, p.final_mode, antialias=cfg.antialias)
    if p.final_sinc:
        x = blur(x, kernels[-1])
    x = x.clamp(0, 1)
    return _jpeg(x, p.quality_2, cfg) if p.jpeg_last else x


def _stage(
    x: Tensor,
    stage: Stage,
    kernel: Tensor,
    size: tuple[int, int],
    cfg: DegradationConfig,
    generator: Generator,
    factor: float | None = None,
) -> Tensor:
    if stage.kernel:
        x = blur(x, kernel)
    x = resize(x, size, stage.mode, antialias=cfg.antialias, factor=factor)
    add_noise = add_gaussian if stage.noise == "gaussian" else add_poisson
    return add_noise(x, stage.amount, stage.grey, generator)


def _jpeg(x: Tensor, quality: float, cfg: DegradationConfig) -> Tensor:
    return compress(x[None], [quality], cfg.jpeg)[0]
