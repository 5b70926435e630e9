"""`lsr bench ops`: the operators of the feed-forward network and of the norms.

Three implementations of each, forward and with gradients: plain PyTorch, plain PyTorch with
torch.compile, and the operator of this library.
"""

from collections.abc import Iterator

import torch

from lsr.bench.cases import Case, Work, both_ways, compare
from lsr.bench.table import Bench
from lsr.ops.glu_conv import glu_conv
from lsr.ops.glu_conv.reference import glu_conv_reference
from lsr.ops.modulated_norm import modulated_norm
from lsr.ops.modulated_norm.reference import modulated_norm_reference

_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.3}


def measure(bench: Bench) -> int:
    """Measure the suite and return the number of wrong results."""
    return compare(bench, "ops", _all_cases(bench))


def sizes(large: bool) -> list[tuple[int, int, int]]:
    """Return (images, latent positions per axis, width) of the inputs to measure.

    Args:
        large: Whether the sizes are for a GPU: the width is then that of SANA-1.6B.
    """
    return [(1, 32, 2240), (8, 64, 2240)] if large else [(1, 32, 512)]


def _all_cases(bench: Bench) -> Iterator[Case]:
    for batch, side, width in sizes(bench.large):
        # SANA's feed-forward network expands the width by 2.5.
        yield from glu_conv_cases(bench.device, bench.dtype, batch, side, 5 * width // 2)
        yield from modulated_norm_cases(bench.device, bench.dtype, batch, side * side, width)


def glu_conv_cases(
    device: torch.device, dtype: torch.dtype, batch: int, side: int, features: int
) -> Iterator[Case]:
    """Yield the gated depth-wise 3 x 3 convolution of an image (batch, side, side, 2 features)."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = ((batch, side, side, 2 * features), (2 * features, 1, 3, 3), (2 * features,))
    hidden, weight, bias = (
        torch.randn(shape, generator=generator, device=device).to(dtype) for shape in shapes
    )
    # Nine products and sums for each number of the image.
    convolution = 2 * 9 * hidden.numel()
    # Backward reads the image and the gradient of the output (half as large) and writes the
    # gradient of the image. The gradients of image and weight cost as much as two convolutions.
    work = Work(convolution, 1.5 * hidden.nbytes), Work(3 * convolution, 4 * hidden.nbytes)
    implementations = {
        "plain": glu_conv_reference,
        "plain, torch.compile": torch.compile(glu_conv_reference),
        "lsr": glu_conv,
    }
    yield from both_ways(
        f"glu_conv B{batch} {side}x{side} F{features}",
        implementations,
        glu_conv_reference,
        (hidden, weight, bias),
        _TOLERANCE[dtype],
        work,
    )


def modulated_norm_cases(
    device: torch.device, dtype: torch.dtype, batch: int, tokens: int, width: int
) -> Iterator[Case]:
    """Yield the modulated layer norm of tokens (batch, tokens, width)."""
    generator = torch.Generator(device).manual_seed(0)
    x = torch.randn(batch, tokens, width, generator=generator, device=device).to(dtype)
    shift, scale = torch.randn(2, batch, 1, width, generator=generator, device=device).to(dtype)
    # Mean, difference, square, sum, quotient and modulation need about 8 operations per number
    # forward, and about twice as many backward.
    work = Work(8 * x.numel(), 2 * x.nbytes), Work(24 * x.numel(), 5 * x.nbytes)
    implementations = {
        "plain": modulated_norm_reference,
        "plain, torch.compile": torch.compile(modulated_norm_reference),
        "lsr": modulated_norm,
    }
    yield from both_ways(
        f"modulated_norm B{batch} N{tokens} D{width}",
        implementations,
        modulated_norm_reference,
        (x, shift, scale),
        _TOLERANCE[dtype],
        work,
    )
