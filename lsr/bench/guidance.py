"""`lsr bench context`: the cost of guidance per sampling step.

It also shows how much is saved by computing the context's keys and values once per image.
"""

import copy
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lsr.bench.cases import Case, compare, randomise
from lsr.bench.flops import counted_flops
from lsr.bench.table import Bench
from lsr.nn.dit import LinearDiT

_CHANNELS = 32
_LENGTHS = {"16 tags": 16, "300 tokens": 300}


def measure(bench: Bench) -> int:
    """Measure the suite and return the number of wrong results."""
    cases = context_cases(bench.device, bench.dtype, *sizes(bench.large))
    return compare(bench, "context", cases)


def sizes(large: bool) -> tuple[int, int, int, int]:
    """Return (latent positions per axis, width, depth, context channels) of the transformer.

    Args:
        large: Whether the sizes are for a GPU: they are then those of SANA-1.6B at 1024 x 1024.
    """
    return (32, 2240, 20, 2304) if large else (32, 512, 6, 2304)


@torch.no_grad()
def context_cases(
    device: torch.device, dtype: torch.dtype, side: int, width: int, depth: int, context_dim: int
) -> Iterator[Case]:
    """Yield one sampling step with several contexts.

    The contexts are none, 16 tags, a caption of 300 tokens, and 16 tags with twice the batch, as
    classifier-free guidance needs it. The same transformer in float64 gives the expected results.

    Args:
        device: Device of the transformer.
        dtype: Precision of the transformer.
        side: Latent positions per axis.
        width: Channels D of the transformer.
        depth: Blocks of the transformer.
        context_dim: Channels of the context.
    """
    generator = torch.Generator(device).manual_seed(0)
    net = _transformer(width, depth, context_dim).to(device).eval()
    randomise(net, generator)
    x = torch.randn(1, _CHANNELS, side, side, generator=generator, device=device)
    t = torch.tensor([0.7], device=device)
    exact = copy.deepcopy(net).double()
    fast = net.to(dtype)
    case = partial(
        Case,
        f"{depth} layers, D {width}, N {side * side}",
        moved=sum(p.numel() for p in net.parameters()) * dtype.itemsize,
        tolerance=1e-3 if dtype == torch.float32 else 0.2,
    )

    def cases(name: str, context: Tensor | None, batch: int = 1) -> Iterator[Case]:
        states = x.expand(batch, -1, -1, -1)
        times = t.expand(batch)
        if context is None:
            mask = None
            expected = exact(states.double(), times)
            contexts = {name: None}
        else:
            context = context.expand(batch, -1, -1)
            mask = torch.ones(context.shape[:2], dtype=torch.bool, device=device)
            expected = exact(states.double(), times, context.double(), mask)
            context = context.to(dtype)
            contexts = {
                name: fast.keys_values(context),
                f"{name}, keys and values at every step": context,
            }
        for label, given in contexts.items():
            run = torch.no_grad()(partial(fast, states.to(dtype), times, given, mask))
            with sdpa_kernel(SDPBackend.MATH):  # the fused kernel of a CPU is not counted
                flops = counted_flops(run)
            yield case(
                name=label, run=run, flops=flops, expected=expected, baseline=context is None
            )

    tokens = torch.randn(1, max(_LENGTHS.values()), context_dim, generator=generator, device=device)
    yield from cases("no tags", None)
    for name, length in _LENGTHS.items():
        yield from cases(name, tokens[:, :length])
    yield next(cases("16 tags, guided (batch of 2)", tokens[:, : _LENGTHS["16 tags"]], batch=2))


def _transformer(width: int, depth: int, context_dim: int) -> LinearDiT:
    heads = max(1, width // 64)
    return LinearDiT(_CHANNELS, _CHANNELS, width, depth, cross_heads=heads, context_dim=context_dim)
