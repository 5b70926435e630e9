"""What is measured: implementations of the same work side by side, each held to a reference before its time counts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.nn.dit import LinearDiT
from lsr.ops.linear_attention import linear_attention
from lsr.sana_weights import to_diffusers

EPS = 1e-6


@dataclass(frozen=True)
class Case:
    """One implementation at one shape.

    Attributes:
        shape: What is worked on, in words.
        name: The implementation.
        run: One call; returns what is compared.
        flops: Floating-point operations of a call.
        moved: Bytes that a call must at least read and write.
        expected: What `run` must return; None where it computes something else, softmax attention for one.
        tolerance: Largest difference from `expected`, relative to its root mean square.
        baseline: The others' times are divided by this one's.
    """

    shape: str
    name: str
    run: Callable[[], Tensor]
    flops: float
    moved: float
    expected: Tensor | None
    tolerance: float
    baseline: bool = False

    def error(self) -> float | None:
        """Return the largest difference from what is expected, relative to its root mean square; None where nothing is."""
        if self.expected is None:
            return None
        difference = (self.run().double() - self.expected).abs().max() / self.expected.square().mean().sqrt()
        return difference.item()


def plain_linear_attention(qkv: Tensor) -> Tensor:
    """ReLU linear attention as it stands in papers, from (B, N, 3, A, E) to (B, N, A, E): no float32 sums, no 1/N."""
    q, k, v = qkv.transpose(1, 3).unbind(2)
    q, k = q.relu(), k.relu()
    return (q @ (k.transpose(-1, -2) @ v) / (q @ k.sum(-2, keepdim=True).transpose(-1, -2) + EPS)).transpose(1, 2)


def softmax_attention(qkv: Tensor) -> Tensor:
    """Softmax attention by PyTorch's own kernel, from (B, N, 3, A, E) to (B, N, A, E)."""
    q, k, v = qkv.transpose(1, 3).unbind(2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def attention_cases(device: torch.device, dtype: torch.dtype, batch: int, tokens: int, heads: int, dim: int) -> Iterator[Case]:
    """Yield linear attention in three implementations, and softmax attention; all begin with what one qkv projection writes."""
    generator = torch.Generator(device).manual_seed(0)
    qkv = torch.randn(batch, tokens, 3, heads, dim, generator=generator, device=device).to(dtype)
    exact = plain_linear_attention(qkv.double())
    shape = f"B{batch} N{tokens} {heads}x{dim}"
    moved = 4 * qkv[:, :, 0].nbytes
    tolerance = 1e-3 if dtype == torch.float32 else 0.1
    linear = partial(Case, shape, flops=4 * batch * heads * tokens * dim * dim, moved=moved, expected=exact, tolerance=tolerance)
    compiled = torch.compile(plain_linear_attention)
    yield linear(name="plain", run=lambda: plain_linear_attention(qkv), baseline=True)
    yield linear(name="plain, torch.compile", run=lambda: compiled(qkv))
    yield linear(name="lsr", run=lambda: linear_attention(qkv, eps=EPS / tokens))
    softmax = partial(Case, shape, flops=4 * batch * heads * tokens * tokens * dim, moved=moved, expected=None, tolerance=0.0)
    yield softmax(name="softmax (SDPA)", run=lambda: softmax_attention(qkv))


@torch.no_grad()
def model_cases(device: torch.device, dtype: torch.dtype, side: int, width: int, depth: int, context: int) -> Iterator[Case]:
    """Yield the transformer and diffusers' Sana with the same weights, one forward each; diffusers in float64 says what is right."""
    from diffusers.models.transformers.sana_transformer import SanaTransformer2DModel
    from torch.utils.flop_counter import FlopCounterMode

    generator = torch.Generator(device).manual_seed(0)
    channels, heads, context_dim = 32, width // 64, 256
    ours = LinearDiT(channels, channels, width, depth, cross_heads=heads, context_dim=context_dim).to(device).eval()
    for parameter in ours.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator, device=device))
    theirs: Any = SanaTransformer2DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=width // 32,
        attention_head_dim=32,
        num_layers=depth,
        num_cross_attention_heads=heads,
        cross_attention_head_dim=64,
        cross_attention_dim=width,
        caption_channels=context_dim,
    )
    theirs.load_state_dict(to_diffusers(ours.state_dict(), channels))
    x = torch.randn(1, channels, side, side, generator=generator, device=device)
    text = torch.randn(1, context, context_dim, generator=generator, device=device)
    t = torch.tensor([0.7], device=device)
    with FlopCounterMode(display=False) as counter:
        ours(x, t, text)
    theirs = theirs.to(device, torch.float64).eval()
    expected = theirs(x.double(), encoder_hidden_states=text.double(), timestep=1000 * t).sample
    moved = sum(p.numel() for p in ours.parameters()) * dtype.itemsize
    ours, theirs = ours.to(dtype), theirs.to(dtype)
    x, text = x.to(dtype), text.to(dtype)
    shape = f"{depth} layers, D {width}, N {side * side}"
    tolerance = 1e-3 if dtype == torch.float32 else 0.2
    forward = partial(Case, shape, flops=counter.get_total_flops(), moved=moved, expected=expected, tolerance=tolerance)
    timestep = 1000 * t
    implementations: dict[str, Callable[[], Tensor]] = {
        "diffusers": lambda: theirs(x, encoder_hidden_states=text, timestep=timestep).sample,
        "lsr": lambda: ours(x, t, text),
    }
    if device.type == "cuda":
        compiled = torch.compile(theirs)
        implementations["diffusers, torch.compile"] = lambda: compiled(x, encoder_hidden_states=text, timestep=timestep).sample
    for name, run in implementations.items():
        yield forward(name=name, run=torch.no_grad()(run), baseline=name == "diffusers")
