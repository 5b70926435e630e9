"""The published Real-ESRGAN pipeline, operation by operation, for comparisons only.

It shares its random choices (resize, interpolation, type of noise, second blur, order of the last
steps) over the batch, blurs with the full 51 x 51 Gaussian, sorts the pixels of every image to
count its levels, and computes colour and grey noise for the whole batch when a single sample wants
grey noise. Source: Wang et al., "Real-ESRGAN", arXiv 2107.10833, and its published code.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lsr.degradations.config import DegradationConfig
from lsr.degradations.jpeg import CHROMA_TABLE, LUMA_TABLE
from lsr.degradations.kernels import make_kernels
from lsr.degradations.parameters import DegradationParameters, Kernel, Stage


def degrade(
    hr: Tensor,
    parameters: Sequence[DegradationParameters],
    cfg: DegradationConfig,
    generator: Generator,
) -> Tensor:
    """Degrade a batch as the published code does.

    Args:
        hr: HR images `(B, 3, H, W)` in [0, 1].
        parameters: Parameters of each sample, all with a second stage. The choices of the first
            sample hold for the batch; each sample has its own amounts.
        cfg: Configuration that the parameters were drawn from.
        generator: Source of the noise.

    Returns:
        LR images `(B, 3, H // scale, W // scale)` in [0, 1], rounded to 8-bit levels.
    """
    shared = parameters[0]
    seconds = [p.second for p in parameters if p.second]
    assert len(seconds) == len(parameters)
    height, width = hr.shape[-2:]
    lr_size = height // cfg.scale, width // cfg.scale
    x = sharpen(hr) if cfg.usm_lr else hr
    x = blur(x, synthesise([p.first.kernel for p in parameters]))
    x = resize(x, shared.first.mode, factor=shared.first.factor)
    x = add_noise(x, [p.first for p in parameters], generator)
    x = compress(x.clamp(0, 1), [p.quality_1 for p in parameters])
    second = synthesise([stage.kernel for stage in seconds])
    if seconds[0].kernel:
        x = blur(x, second)
    size = int(height / cfg.scale * seconds[0].factor), int(width / cfg.scale * seconds[0].factor)
    x = resize(x, seconds[0].mode, size=size)
    x = add_noise(x, seconds, generator)
    final = synthesise([p.final_sinc for p in parameters])
    if shared.jpeg_last:
        x = blur(resize(x, shared.final_mode, size=lr_size), final)
        x = compress(x.clamp(0, 1), [p.quality_2 for p in parameters])
    else:
        x = compress(x.clamp(0, 1), [p.quality_2 for p in parameters])
        x = blur(resize(x, shared.final_mode, size=lr_size), final)
    if cfg.usm_target:
        sharpen(hr)  # the published code sharpens a second time, for the training target
    return (x * 255).round().clamp(0, 255) / 255


def synthesise(kernels: Sequence[Kernel | None]) -> Tensor:
    """Return the kernels `(B, 21, 21)`, computed one at a time."""
    return torch.cat([make_kernels([kernel]) for kernel in kernels])


def sharpen(x: Tensor) -> Tensor:
    """Return the unsharp mask of `(B, 3, H, W)`, with a full 51 x 51 Gaussian kernel."""
    # sigma = 0.3 (25 - 1) + 0.8 = 8, the default of OpenCV for 51 taps; 2 sigma^2 = 128.
    taps = torch.exp(-((torch.arange(51.0, dtype=torch.float64) - 25) ** 2) / 128)
    kernel = torch.outer(taps, taps)
    kernel = (kernel / kernel.sum()).float()

    def gaussian(image: Tensor) -> Tensor:
        padded = F.pad(image, (25, 25, 25, 25), mode="reflect")
        planes = padded.reshape(-1, 1, *padded.shape[2:])
        return F.conv2d(planes, kernel[None, None]).reshape(image.shape)

    residual = x - gaussian(x)
    soft = gaussian((residual.abs() * 255 > 10).float())
    return soft * (x + 0.5 * residual).clamp(0, 1) + (1 - soft) * x


def blur(x: Tensor, kernels: Tensor) -> Tensor:
    """Filter `(B, 3, H, W)` with kernels `(B, 21, 21)`; the convolution has one group per plane."""
    batch, channels, height, width = x.shape
    padded = F.pad(x, (10, 10, 10, 10), mode="reflect")
    planes = padded.reshape(1, batch * channels, height + 20, width + 20)
    weight = kernels[:, None].repeat(1, channels, 1, 1).reshape(batch * channels, 1, 21, 21)
    return F.conv2d(planes, weight, groups=batch * channels).reshape(x.shape)


def resize(
    x: Tensor, mode: str, size: tuple[int, int] | None = None, factor: float | None = None
) -> Tensor:
    """Resize a batch to a size or by a factor."""
    return F.interpolate(x, size=size, scale_factor=factor, mode=mode)


def add_noise(x: Tensor, stages: Sequence[Stage], generator: Generator) -> Tensor:
    """Add noise of the first sample's type to all samples, as the published code; clip to [0, 1].

    The amounts of the types have different units. So a sample that drew another type takes the
    amount of the first sample too.
    """
    kind = stages[0].noise
    amounts = [s.amount if s.noise == kind else stages[0].amount for s in stages]
    amount = torch.tensor(amounts).view(-1, 1, 1, 1)
    grey = torch.tensor([float(s.grey) for s in stages]).view(-1, 1, 1, 1)
    noise = (
        torch.randn(x.shape, generator=generator) if kind == "gaussian" else poisson(x, generator)
    )
    if grey.sum() > 0:
        if kind == "gaussian":
            grey_noise = torch.randn(x.shape[2:], generator=generator).expand(len(x), 1, -1, -1)
        else:
            luma = (x * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
            grey_noise = poisson(luma, generator)
        noise = noise * (1 - grey) + grey_noise.expand(-1, 3, -1, -1) * grey
    return (x + noise * amount).clamp(0, 1)


def poisson(x: Tensor, generator: Generator) -> Tensor:
    """Return the unscaled Poisson noise; every image is sorted to count its levels."""
    x = (x * 255).round().clamp(0, 255) / 255
    strengths = [2 ** math.ceil(math.log2(len(torch.unique(image)))) for image in x]
    strength = torch.tensor(strengths, dtype=x.dtype).view(-1, 1, 1, 1)
    return torch.poisson(x * strength, generator=generator) / strength - x


def compress(x: Tensor, quality: Sequence[float]) -> Tensor:
    """Compress and decompress `(B, 3, H, W)` in [0, 1] with DiffJPEG, 4:2:0.

    DiffJPEG transposes the luma table, pads with black, and upsamples chroma by nearest neighbour.
    Here it is not differentiable.
    """
    factor = torch.tensor([50 / q if q < 50 else 2 - q / 50 for q in quality]).view(-1, 1, 1, 1)
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % 16, 0, -height % 16)) * 255
    matrix = torch.tensor(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    )
    shift = torch.tensor([0.0, 128.0, 128.0])
    ycc = torch.tensordot(x.permute(0, 2, 3, 1), matrix.T, dims=1) + shift
    chroma = F.avg_pool2d(ycc[..., 1:].permute(0, 3, 1, 2), 2)
    luma = _quantise_blocks(ycc[..., 0], torch.tensor(LUMA_TABLE).T * factor)
    coded = [
        _quantise_blocks(chroma[:, plane], torch.tensor(CHROMA_TABLE) * factor) for plane in (0, 1)
    ]
    upsampled = [plane.repeat_interleave(2, -1).repeat_interleave(2, -2) for plane in coded]
    ycc = torch.stack([luma, *upsampled], -1)
    inverse = torch.tensor([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])
    rgb = torch.tensordot(ycc - shift, inverse.T, dims=1).permute(0, 3, 1, 2)
    return (rgb.clamp(0, 255) / 255)[..., :height, :width].contiguous()


def _quantise_blocks(plane: Tensor, table: Tensor) -> Tensor:
    """Quantise the cosine transform of every 8 x 8 block of `(B, H, W)` and transform back."""
    batch, height, width = plane.shape
    blocks = plane.view(batch, height // 8, 8, width // 8, 8).permute(0, 1, 3, 2, 4)
    blocks = blocks.reshape(batch, -1, 8, 8)
    u = torch.arange(8.0)
    cosine = torch.cos((2 * u[:, None] + 1) * u[None, :] * math.pi / 16)
    basis = torch.einsum("xu,yv->xyuv", cosine, cosine)
    alpha = torch.ones(8)
    alpha[0] = 1 / math.sqrt(2)
    scale = torch.outer(alpha, alpha)
    coefficients = 0.25 * scale * torch.tensordot(blocks - 128, basis, dims=2)
    coefficients = (coefficients / table).round() * table
    blocks = 0.25 * torch.tensordot(coefficients * scale, basis.permute(2, 3, 0, 1), dims=2) + 128
    blocks = blocks.view(batch, height // 8, width // 8, 8, 8)
    return blocks.permute(0, 1, 3, 2, 4).reshape(batch, height, width)
