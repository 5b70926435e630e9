"""What is measured: implementations of the same work side by side, each held to a reference before its time counts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.bench.peers import attention_peers, layer_peers
from lsr.models.sana_weights import to_diffusers
from lsr.nn.attention import LinearSelfAttention
from lsr.nn.dit import LinearDiT
from lsr.ops.linear_attention import linear_attention

EPS = 1e-6

Result = Tensor | tuple[Tensor, ...]


class Work(NamedTuple):
    """What a call must do at least: floating-point operations, and bytes to read and write."""

    flops: float
    moved: float


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
    run: Callable[[], Result]
    flops: float
    moved: float
    expected: Result | None
    tolerance: float
    baseline: bool = False

    def error(self) -> float | None:
        """Return the largest difference from what is expected, relative to its root mean square; None where nothing is.

        Of several results each is held to its own size, and the worst counts.
        """
        if self.expected is None:
            return None
        pairs = zip(tensors(self.run()), tensors(self.expected), strict=True)
        return max(
            ((x.double() - wanted).abs().max() / wanted.square().mean().sqrt()).item()
            for x, wanted in pairs
        )


def tensors(result: Result) -> tuple[Tensor, ...]:
    """Return the results of a call, also where it is one."""
    return (result,) if isinstance(result, Tensor) else result


def forward_and_backward(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad: Tensor
) -> Callable[[], tuple[Tensor, ...]]:
    """Return a call of `function` and of its backward, given the gradient of the output, which returns those of the inputs."""
    leaves = tuple(x.detach().requires_grad_() for x in inputs)
    return lambda: torch.autograd.grad(function(*leaves), leaves, grad)


def both_ways(
    shape: str,
    implementations: Mapping[str, Callable[..., Tensor]],
    exact: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    tolerance: float,
    work: tuple[Work, Work],
) -> Iterator[Case]:
    """Yield every implementation forward, then forward and backward.

    Args:
        shape: What is worked on, in words.
        implementations: Functions of the inputs by name; the first is the baseline.
        exact: A function of the inputs that says in float64 what is right.
        inputs: What all begin with.
        tolerance: See `Case`.
        work: Of a forward call, and of a forward and a backward one.
    """
    precise = [x.double() for x in inputs]
    expected: Result = exact(*precise)
    grad = gradient_for(expected).to(inputs[0].dtype)
    baseline = next(iter(implementations))
    for name, function in implementations.items():
        yield Case(
            shape, name, partial(function, *inputs), *work[0], expected, tolerance, name == baseline
        )
    expected = forward_and_backward(exact, precise, grad.double())()
    for name, function in implementations.items():
        run = forward_and_backward(function, inputs, grad)
        yield Case(
            f"{shape}, forward+backward", name, run, *work[1], expected, tolerance, name == baseline
        )


def gradient_for(output: Tensor) -> Tensor:
    """Return a gradient of `output`: a tensor like any other, not one number seen many times."""
    return torch.arange(output.numel(), device=output.device).cos().view(output.shape)


def plain_linear_attention(qkv: Tensor) -> Tensor:
    """ReLU linear attention as it stands in papers, from (B, N, 3, A, E) to (B, N, A, E): no float32 sums, no 1/N."""
    q, k, v = qkv.transpose(1, 3).unbind(2)
    q, k = q.relu(), k.relu()
    return (
        q @ (k.transpose(-1, -2) @ v) / (q @ k.sum(-2, keepdim=True).transpose(-1, -2) + EPS)
    ).transpose(1, 2)


def softmax_attention(qkv: Tensor) -> Tensor:
    """Softmax attention by PyTorch's own kernel, from (B, N, 3, A, E) to (B, N, A, E)."""
    q, k, v = qkv.transpose(1, 3).unbind(2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def attention_cases(
    device: torch.device, dtype: torch.dtype, batch: int, tokens: int, heads: int, dim: int
) -> Iterator[Case]:
    """Yield linear attention in all implementations, and softmax attention; all begin with what one qkv projection writes."""
    generator = torch.Generator(device).manual_seed(0)
    qkv = torch.randn(batch, tokens, 3, heads, dim, generator=generator, device=device).to(dtype)
    shape = f"B{batch} N{tokens} {heads}x{dim}"
    token = qkv[:, :, 0].nbytes
    flops = 4 * batch * heads * tokens * dim * dim
    # Forward reads q, k, v and writes o; backward reads these and do, and writes three gradients.
    work = Work(flops, 4 * token), Work(3 * flops, 12 * token)
    implementations = {
        "plain": plain_linear_attention,
        "plain, torch.compile": torch.compile(plain_linear_attention),
        "lsr": partial(linear_attention, eps=EPS / tokens),
        **dict(attention_peers(device, EPS / tokens)),
    }
    tolerance = 1e-3 if dtype == torch.float32 else 0.1
    yield from both_ways(shape, implementations, plain_linear_attention, (qkv,), tolerance, work)
    softmax = partial(Case, name="softmax (SDPA)", expected=None, tolerance=0.0)
    yield softmax(
        shape, run=lambda: softmax_attention(qkv), flops=flops * tokens / dim, moved=4 * token
    )
    if device.type == "cuda" or tokens <= 4096:  # with more, half a minute a call
        both = forward_and_backward(softmax_attention, (qkv,), gradient_for(qkv[:, :, 0]).to(dtype))
        yield softmax(
            f"{shape}, forward+backward", run=both, flops=3 * flops * tokens / dim, moved=12 * token
        )
    yield from _layer_cases(qkv[:, :, 0].flatten(2), dim, 2 * tolerance)


def _layer_cases(x: Tensor, dim: int, tolerance: float) -> Iterator[Case]:
    """Yield our layer with its projections beside those of others, where there are any."""
    batch, tokens, width = x.shape
    layer = LinearSelfAttention(width, dim).to(x.device, x.dtype).requires_grad_(False)
    implementations = {"lsr": layer} | {
        name: theirs.requires_grad_(False) for name, theirs in layer_peers(layer)
    }
    if len(implementations) == 1:
        return
    exact = LinearSelfAttention(width, dim).to(x.device, torch.float64).requires_grad_(False)
    exact.load_state_dict(layer.state_dict())
    flops = (8 * width + 4 * dim) * x.numel()
    work = Work(flops, 2 * x.nbytes), Work(2 * flops, 4 * x.nbytes)
    yield from both_ways(
        f"layer B{batch} N{tokens} D{width}", implementations, exact, (x,), tolerance, work
    )


@torch.no_grad()
def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Let every weight matter: a new transformer computes zero."""
    for parameter in module.parameters():
        parameter.add_(
            0.02 * torch.randn(parameter.shape, generator=generator, device=parameter.device)
        )


def model_cases(
    device: torch.device, dtype: torch.dtype, side: int, width: int, depth: int, context: int
) -> Iterator[Case]:
    """Yield the transformer and diffusers' Sana with the same weights, one forward each; diffusers in float64 says what is right."""
    from diffusers.models.transformers.sana_transformer import SanaTransformer2DModel
    from torch.utils.flop_counter import FlopCounterMode

    generator = torch.Generator(device).manual_seed(0)
    channels, heads, context_dim = 32, width // 64, 256
    ours = (
        LinearDiT(channels, channels, width, depth, cross_heads=heads, context_dim=context_dim)
        .to(device)
        .eval()
    )
    randomise(ours, generator)
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
    forward = partial(
        Case,
        shape,
        flops=counter.get_total_flops(),
        moved=moved,
        expected=expected,
        tolerance=tolerance,
    )
    timestep = 1000 * t
    implementations: dict[str, Callable[[], Tensor]] = {
        "diffusers": lambda: theirs(x, encoder_hidden_states=text, timestep=timestep).sample,
        "lsr": lambda: ours(x, t, text),
    }
    if device.type == "cuda":
        compiled = torch.compile(theirs)
        implementations["diffusers, torch.compile"] = lambda: (
            compiled(x, encoder_hidden_states=text, timestep=timestep).sample
        )
    for name, run in implementations.items():
        yield forward(name=name, run=torch.no_grad()(run), baseline=name == "diffusers")
