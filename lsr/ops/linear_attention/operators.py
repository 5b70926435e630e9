"""Register the Triton kernels as PyTorch operators with autograd.

`torch.compile` does not look into an operator: a graph holds one call forward and one call
backward. `lsr::linear_attention_packed` takes the output of one qkv projection and returns one
gradient of the same layout; `lsr::linear_attention` takes q, k and v. In addition to the output
both return the state S and z, which the backward pass reads.
"""

import torch
from torch import Tensor

from lsr.ops.linear_attention import launch


def _empty_results(q: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    samples, _, heads, dim = q.shape
    return (
        torch.empty(q.shape, dtype=v.dtype, device=v.device),
        torch.empty((samples, heads, dim, dim), dtype=torch.float32, device=v.device),
        torch.empty((samples, heads, dim), dtype=torch.float32, device=v.device),
    )


def _empty(like: Tensor) -> Tensor:
    """Return uninitialised contiguous memory for a tensor like `like`, whose strides may differ."""
    return torch.empty(like.shape, dtype=like.dtype, device=like.device)


@torch.library.custom_op("lsr::linear_attention_packed", mutates_args=())
def packed(qkv: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Map qkv (B, N, 3, A, E) to o (B, N, A, E), S (B, A, E, E) and z (B, A, E)."""
    o = torch.empty_like(qkv[:, :, 0], memory_format=torch.contiguous_format)
    q, k, v = qkv.unbind(2)
    return o, *launch.forward(q, k, v, eps, o)


@torch.library.custom_op("lsr::linear_attention_packed_backward", mutates_args=())
def packed_backward(
    grad: Tensor, qkv: Tensor, o: Tensor, s: Tensor, z: Tensor, eps: float
) -> Tensor:
    """Return the gradient of qkv (B, N, 3, A, E)."""
    dqkv = _empty(qkv)
    launch.backward(grad, qkv.unbind(2), (o, s, z), eps, dqkv.unbind(2))
    return dqkv


@torch.library.custom_op("lsr::linear_attention", mutates_args=())
def separate(q: Tensor, k: Tensor, v: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Map q, k, v (B, N, A, E) to o (B, N, A, E), S (B, A, E, E) and z (B, A, E)."""
    o = _empty(v)
    return o, *launch.forward(q, k, v, eps, o)


@torch.library.custom_op("lsr::linear_attention_backward", mutates_args=())
def separate_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, s: Tensor, z: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v, (B, N, A, E) each."""
    grads = _empty(q), _empty(k), _empty(v)
    launch.backward(grad, (q, k, v), (o, s, z), eps, grads)
    return grads


@packed.register_fake
def _(qkv: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_results(qkv[:, :, 0], qkv)


@separate.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_results(q, v)


@packed_backward.register_fake
def _(grad: Tensor, qkv: Tensor, o: Tensor, s: Tensor, z: Tensor, eps: float) -> Tensor:
    return _empty(qkv)


@separate_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, s: Tensor, z: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _empty(q), _empty(k), _empty(v)


def _remember(ctx, inputs, output) -> None:
    *tensors, ctx.eps = inputs
    _, s, z = output
    # S and z are outputs only to be saved. No gradient ever arrives for them, and PyTorch shall not
    # make one of zeros.
    ctx.mark_non_differentiable(s, z)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output)


def _packed_gradient(ctx, grad, *_):
    return packed_backward(grad, *ctx.saved_tensors, ctx.eps), None


def _separate_gradient(ctx, grad, *_):
    return *separate_backward(grad, *ctx.saved_tensors, ctx.eps), None


packed.register_autograd(_packed_gradient, setup_context=_remember)
separate.register_autograd(_separate_gradient, setup_context=_remember)
