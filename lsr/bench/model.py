"""`lsr bench model`: the transformer of this library and the one of diffusers, same weights."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lsr.bench.cases import Case, compare, randomise
from lsr.bench.flops import counted_flops
from lsr.bench.table import Bench
from lsr.models.sana_weights import to_diffusers
from lsr.nn.dit import LinearDiT

_CHANNELS = 32
_CONTEXT_DIM = 256
_CROSS_HEAD_DIM = 64
_HEAD_DIM = 32

# SANA of diffusers counts time from 0 to 1000, this library from 0 to 1.
_TIMESTEPS = 1000


def measure(bench: Bench) -> int:
    """Measure the suite and return the number of wrong results."""
    cases = model_cases(bench.device, bench.dtype, *sizes(bench.large))
    return compare(bench, "model", cases)


def sizes(large: bool) -> tuple[int, int, int, int]:
    """Return (latent positions per axis, width, depth, context tokens) of the transformer.

    Args:
        large: Whether the sizes are for a GPU: width and depth are then those of SANA-1.6B, and
            the latent is that of an image of 1024 x 1024 pixels.
    """
    return (32, 2240, 20, 16) if large else (64, 512, 6, 16)


def model_cases(
    device: torch.device, dtype: torch.dtype, side: int, width: int, depth: int, context: int
) -> Iterator[Case]:
    """Yield a forward pass of both transformers; diffusers in float64 gives the expected result.

    Args:
        device: Device of the transformers.
        dtype: Precision of the transformers.
        side: Latent positions per axis.
        width: Channels D of the transformers; a multiple of 64.
        depth: Blocks of the transformers.
        context: Context tokens.
    """
    generator = torch.Generator(device).manual_seed(0)
    ours = _our_transformer(width, depth).to(device).eval()
    randomise(ours, generator)
    theirs: Any = _diffusers_transformer(width, depth)
    theirs.load_state_dict(to_diffusers(ours.state_dict(), _CHANNELS))
    x = torch.randn(1, _CHANNELS, side, side, generator=generator, device=device)
    text = torch.randn(1, context, _CONTEXT_DIM, generator=generator, device=device)
    t = torch.tensor([0.7], device=device)
    flops = counted_flops(lambda: ours(x, t, text))
    theirs = theirs.to(device, torch.float64).eval()
    timestep = _TIMESTEPS * t
    expected = theirs(x.double(), encoder_hidden_states=text.double(), timestep=timestep).sample
    case = partial(
        Case,
        f"{depth} layers, D {width}, N {side * side}",
        flops=flops,
        moved=sum(p.numel() for p in ours.parameters()) * dtype.itemsize,
        expected=expected,
        tolerance=1e-3 if dtype == torch.float32 else 0.2,
    )
    implementations = _implementations(
        ours.to(dtype), theirs.to(dtype), x.to(dtype), t, text.to(dtype)
    )
    for name, run in implementations.items():
        yield case(name=name, run=torch.no_grad()(run), baseline=name == "diffusers")


def _our_transformer(width: int, depth: int) -> LinearDiT:
    return LinearDiT(
        _CHANNELS,
        _CHANNELS,
        width,
        depth,
        head_dim=_HEAD_DIM,
        cross_heads=width // _CROSS_HEAD_DIM,
        context_dim=_CONTEXT_DIM,
    )


def _diffusers_transformer(width: int, depth: int) -> nn.Module:
    from diffusers.models.transformers.sana_transformer import SanaTransformer2DModel

    return SanaTransformer2DModel(
        in_channels=_CHANNELS,
        out_channels=_CHANNELS,
        num_attention_heads=width // _HEAD_DIM,
        attention_head_dim=_HEAD_DIM,
        num_layers=depth,
        num_cross_attention_heads=width // _CROSS_HEAD_DIM,
        cross_attention_head_dim=_CROSS_HEAD_DIM,
        cross_attention_dim=width,
        caption_channels=_CONTEXT_DIM,
    )


def _implementations(
    ours: LinearDiT, theirs: Any, x: Tensor, t: Tensor, text: Tensor
) -> dict[str, Callable[[], Tensor]]:
    """Return functions that run one forward pass, by name; torch.compile on a GPU only."""
    timestep = _TIMESTEPS * t
    implementations: dict[str, Callable[[], Tensor]] = {
        "diffusers": lambda: theirs(x, encoder_hidden_states=text, timestep=timestep).sample,
        "lsr": lambda: ours(x, t, text),
    }
    if x.device.type == "cuda":
        compiled = torch.compile(theirs)
        implementations["diffusers, torch.compile"] = lambda: (
            compiled(x, encoder_hidden_states=text, timestep=timestep).sample
        )
    return implementations
