"""The operators of the feed-forward and of the norms: plain PyTorch, torch.compile of it, and ours, forward and with gradients."""

from collections.abc import Iterator

import torch

from lsr.bench.cases import Case, Work, both_ways
from lsr.ops.glu_conv import glu_conv
from lsr.ops.glu_conv.reference import glu_conv_reference
from lsr.ops.modulated_norm import modulated_norm
from lsr.ops.modulated_norm.reference import modulated_norm_reference

_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.3}


def glu_conv_cases(
    device: torch.device, dtype: torch.dtype, batch: int, side: int, features: int
) -> Iterator[Case]:
    """Yield the gated depth-wise convolution of (batch, side, side, 2 features)."""
    generator = torch.Generator(device).manual_seed(0)
    sizes = ((batch, side, side, 2 * features), (2 * features, 1, 3, 3), (2 * features,))
    hidden, weight, bias = (
        torch.randn(size, generator=generator, device=device).to(dtype) for size in sizes
    )
    convolution = 2 * 9 * hidden.numel()
    # Backward reads the image and the gradient of the output and writes the gradient of the image; its sums are two convolutions more.
    work = Work(convolution, 1.5 * hidden.nbytes), Work(3 * convolution, 4 * hidden.nbytes)
    implementations = {
        "plain": glu_conv_reference,
        "plain, torch.compile": torch.compile(glu_conv_reference),
        "lsr": glu_conv,
    }
    shape = f"glu_conv B{batch} {side}x{side} F{features}"
    yield from both_ways(
        shape, implementations, glu_conv_reference, (hidden, weight, bias), _TOLERANCE[dtype], work
    )


def modulated_norm_cases(
    device: torch.device, dtype: torch.dtype, batch: int, tokens: int, width: int
) -> Iterator[Case]:
    """Yield the modulated norm of (batch, tokens, width)."""
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randn(batch, tokens, width, generator=generator, device=device).to(dtype)
    shift, scale = torch.randn(2, batch, 1, width, generator=generator, device=device).to(dtype)
    # Mean, difference, square, sum, quotient and modulation; about twice as many backward.
    work = Work(8 * x.numel(), 2 * x.nbytes), Work(24 * x.numel(), 5 * x.nbytes)
    implementations = {
        "plain": modulated_norm_reference,
        "plain, torch.compile": torch.compile(modulated_norm_reference),
        "lsr": modulated_norm,
    }
    shape = f"modulated_norm B{batch} N{tokens} D{width}"
    yield from both_ways(
        shape, implementations, modulated_norm_reference, (x, shift, scale), _TOLERANCE[dtype], work
    )
