"""`lsr bench context`: what guidance adds to a step, and what it saves to make keys and values once per image."""

import copy
from collections.abc import Iterator
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lsr.bench.cases import Case, randomise
from lsr.bench.table import Bench, compare
from lsr.nn.dit import LinearDiT

_LENGTHS = {"16 tags": 16, "300 tokens": 300}


def context(bench: Bench) -> int:
    """Measure a step of the transformer; returns the number of wrong results."""
    large = bench.device.type == "cuda"
    sizes = (32, 2240, 20, 2304) if large else (32, 512, 6, 2304)
    return compare(bench, "context", context_cases(bench.device, bench.dtype, *sizes))


@torch.no_grad()
def context_cases(
    device: torch.device, dtype: torch.dtype, side: int, width: int, depth: int, context_dim: int
) -> Iterator[Case]:
    """Yield a step without context, with tags and with a caption's 300 tokens, and guided by twice the batch; float64 tells what is right.

    Args:
        device: Where.
        dtype: Precision.
        side: Of the latent grid.
        width: Of the transformer.
        depth: Of the transformer.
        context_dim: Channels of the context.
    """
    generator = torch.Generator(device).manual_seed(0)
    net = (
        LinearDiT(32, 32, width, depth, cross_heads=max(1, width // 64), context_dim=context_dim)
        .to(device)
        .eval()
    )
    randomise(net, generator)
    x = torch.randn(1, 32, side, side, generator=generator, device=device)
    t = torch.tensor([0.7], device=device)
    exact, fast = copy.deepcopy(net).double(), net.to(dtype)
    moved = sum(p.numel() for p in net.parameters()) * dtype.itemsize
    case = partial(
        Case,
        f"{depth} layers, D {width}, N {side * side}",
        moved=moved,
        tolerance=1e-3 if dtype == torch.float32 else 0.2,
    )

    def cases(name: str, batch: int, length: int, tokens: torch.Tensor | None) -> Iterator[Case]:
        states, times = x.expand(batch, -1, -1, -1), t.expand(batch)
        context = None if tokens is None else tokens[:, :length].expand(batch, -1, -1)
        mask = (
            None
            if context is None
            else torch.ones(context.shape[:2], dtype=torch.bool, device=device)
        )
        expected = exact(
            states.double(), times, None if context is None else context.double(), mask
        )
        memory = None if context is None else fast.keys_values(context.to(dtype))
        ways = (
            {name: memory}
            if context is None
            else {name: memory, f"{name}, keys and values at every step": context.to(dtype)}
        )
        for what, seen in ways.items():
            run = torch.no_grad()(partial(fast, states.to(dtype), times, seen, mask))
            with (
                sdpa_kernel(SDPBackend.MATH),
                FlopCounterMode(display=False) as counter,
            ):  # a CPU's fused kernel is not counted
                run()
            yield case(
                name=what,
                run=run,
                flops=counter.get_total_flops(),
                expected=expected,
                baseline=tokens is None,
            )

    tokens = torch.randn(1, max(_LENGTHS.values()), context_dim, generator=generator, device=device)
    yield from cases("no tags", 1, 0, None)
    for name, length in _LENGTHS.items():
        yield from cases(name, 1, length, tokens)
    yield next(cases("16 tags, guided (batch of 2)", 2, _LENGTHS["16 tags"], tokens))
