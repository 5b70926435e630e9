"""`lsr bench attention`: linear attention by several implementations, and softmax attention."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.bench.cases import (
    Case,
    Work,
    both_ways,
    compare,
    forward_and_backward,
    gradient_for,
)
from lsr.bench.peers import absent_peers, attention_peers, layer_peers
from lsr.bench.table import Bench, say
from lsr.nn.attention import LinearSelfAttention
from lsr.ops.linear_attention import linear_attention

_EPS = 1e-6

# A backward call of softmax attention over more tokens takes half a minute on a CPU.
_MOST_TOKENS_ON_CPU = 4096


def measure(bench: Bench) -> int:
    """Measure the suite and return the number of wrong results.

    The printed text and the header of the tables also name the kernels of other projects that
    cannot run here.
    """
    absent = "; ".join(
        f"without {name}: {reason}" for name, reason in absent_peers(bench.device).items()
    )
    say(absent)
    if absent:
        bench = replace(bench, header=f"{bench.header}; {absent}")
    return compare(bench, "attention", _all_cases(bench))


def sizes(large: bool) -> list[tuple[int, int, int, int]]:
    """Return (images, tokens, heads, channels per head) of the inputs to measure.

    Args:
        large: Whether the sizes are for a GPU: the heads are then those of SANA-1.6B.
    """
    images = 8 if large else 1
    heads = 70 if large else 16
    return [(images, tokens, heads, 32) for tokens in (1024, 4096, 16384)]


def _all_cases(bench: Bench) -> Iterator[Case]:
    for size in sizes(bench.large):
        yield from attention_cases(bench.device, bench.dtype, *size)
    for dtype in (torch.float16, torch.bfloat16):
        yield from sum_cases(bench.device, dtype, *sizes(bench.large)[0])


def plain_linear_attention(qkv: Tensor) -> Tensor:
    """Return ReLU linear attention, written as in the papers.

    o_i = relu(q_i) S / (relu(q_i) z + eps) with S = sum_j relu(k_j)^T v_j and z = sum_j relu(k_j)^T
    (SANA, arXiv 2410.10629, section 2.2). Unlike the operator of this library, it does not
    accumulate in float32 and does not divide S and z by the number of tokens N.

    Args:
        qkv: Queries, keys and values (B, N, 3, A, E).

    Returns:
        Tensor (B, N, A, E).
    """
    q, k, v = qkv.transpose(1, 3).unbind(2)
    q, k = q.relu(), k.relu()
    numerator = q @ (k.transpose(-1, -2) @ v)
    denominator = q @ k.sum(-2, keepdim=True).transpose(-1, -2) + _EPS
    return (numerator / denominator).transpose(1, 2)


def softmax_attention(qkv: Tensor) -> Tensor:
    """Return softmax attention by PyTorch's own kernel, from (B, N, 3, A, E) to (B, N, A, E)."""
    q, k, v = qkv.transpose(1, 3).unbind(2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def attention_cases(
    device: torch.device, dtype: torch.dtype, batch: int, tokens: int, heads: int, dim: int
) -> Iterator[Case]:
    """Yield linear attention by all implementations, then softmax attention and whole layers.

    All start from one tensor (B, N, 3, A, E), as a joint projection to queries, keys and values
    writes it.

    Args:
        device: Device of the tensors.
        dtype: Precision of the tensors.
        batch: Images B.
        tokens: Tokens N of an image.
        heads: Heads A.
        dim: Channels per head E.
    """
    qkv = _inputs(device, dtype, batch, tokens, heads, dim)
    shape = f"B{batch} N{tokens} {heads}x{dim}"
    tolerance = 1e-3 if dtype == torch.float32 else 0.1
    implementations = {
        "plain": plain_linear_attention,
        "plain, torch.compile": torch.compile(plain_linear_attention),
        # Our operator divides the sums over tokens by N, so eps is divided too.
        "lsr": partial(linear_attention, eps=_EPS / tokens),
        **dict(attention_peers(device, _EPS / tokens)),
    }
    work = _linear_work(qkv)
    yield from both_ways(shape, implementations, plain_linear_attention, (qkv,), tolerance, work)
    yield from _softmax_cases(shape, qkv)
    yield from _layer_cases(qkv[:, :, 0].flatten(2), dim, 2 * tolerance)


def sum_cases(
    device: torch.device, dtype: torch.dtype, batch: int, tokens: int, heads: int, dim: int
) -> Iterator[Case]:
    """Yield linear attention with sums in half precision, and ours, whose sums are float32.

    The inputs of both are in half precision. The ratio of the two times is the cost of sums in
    float32. For the arguments see `attention_cases`.
    """
    qkv = _inputs(device, dtype, batch, tokens, heads, dim)
    name = str(dtype).removeprefix("torch.")
    implementations = {
        f"sums in {name}": plain_linear_attention,
        "sums in float32": partial(linear_attention, eps=_EPS / tokens),
    }
    shape = f"{name} B{batch} N{tokens} {heads}x{dim}"
    work = _linear_work(qkv)
    # Gradients through sums in bfloat16 are off by up to a fifth of their size.
    yield from both_ways(shape, implementations, plain_linear_attention, (qkv,), 0.3, work)


def _inputs(device: torch.device, dtype: torch.dtype, *size: int) -> Tensor:
    """Return normal queries, keys and values (B, N, 3, A, E) for a size (B, N, A, E)."""
    batch, tokens, heads, dim = size
    generator = torch.Generator(device).manual_seed(0)
    qkv = torch.randn(batch, tokens, 3, heads, dim, generator=generator, device=device)
    return qkv.to(dtype)


def _linear_work(qkv: Tensor) -> tuple[Work, Work]:
    batch, tokens, _, heads, dim = qkv.shape
    values = qkv[:, :, 0].nbytes
    # Two products, k^T v and its product with q, of B A N E^2 multiplications and additions each.
    flops = 4 * batch * heads * tokens * dim * dim
    # Forward reads q, k, v and writes o. Backward reads q, k, v, o and the gradient of o, and
    # writes three gradients. A backward pass has two products for each product of the forward pass.
    return Work(flops, 4 * values), Work(3 * flops, 12 * values)


def _softmax_cases(shape: str, qkv: Tensor) -> Iterator[Case]:
    """Yield softmax attention, which needs N / E times the operations of linear attention."""
    tokens = qkv.shape[1]
    dim = qkv.shape[-1]
    forward, both = _linear_work(qkv)
    softmax = partial(Case, name="softmax (SDPA)", expected=None, tolerance=0.0)
    yield softmax(
        shape,
        run=lambda: softmax_attention(qkv),
        flops=forward.flops * tokens / dim,
        moved=forward.moved,
    )
    if qkv.device.type == "cuda" or tokens <= _MOST_TOKENS_ON_CPU:
        grad = gradient_for(qkv[:, :, 0]).to(qkv.dtype)
        yield softmax(
            f"{shape}, forward+backward",
            run=forward_and_backward(softmax_attention, (qkv,), grad),
            flops=both.flops * tokens / dim,
            moved=both.moved,
        )


def _layer_cases(x: Tensor, dim: int, tolerance: float) -> Iterator[Case]:
    """Yield whole attention layers, projections included; nothing if no peer has such a layer."""
    batch, tokens, width = x.shape
    layer = LinearSelfAttention(width, dim).to(x.device, x.dtype).requires_grad_(False)
    implementations = {"lsr": layer} | {
        name: peer.requires_grad_(False) for name, peer in layer_peers(layer)
    }
    if len(implementations) == 1:
        return
    exact = LinearSelfAttention(width, dim).to(x.device, torch.float64).requires_grad_(False)
    exact.load_state_dict(layer.state_dict())
    # Four D x D projections, and the two products of linear attention. The weights need no
    # gradient, so a backward pass costs as much as a forward pass.
    flops = (8 * width + 4 * dim) * x.numel()
    work = Work(flops, 2 * x.nbytes), Work(2 * flops, 4 * x.nbytes)
    shape = f"layer B{batch} N{tokens} D{width}"
    yield from both_ways(shape, implementations, exact, (x,), tolerance, work)
