"""Register the Triton kernels as PyTorch operators with autograd.

`torch.compile` does not look into an operator: a graph holds one call forward and one call
backward.
"""

import torch
from torch import Tensor

from lsr.ops.modulated_norm import launch


def _empty_output(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    dtype = torch.promote_types(torch.promote_types(x.dtype, shift.dtype), scale.dtype)
    return x.new_empty(x.shape, dtype=dtype)


@torch.library.custom_op("lsr::modulated_norm", mutates_args=())
def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Map x (B, N, D), shift and scale (B, 1, D) to (B, N, D)."""
    out = _empty_output(x, shift, scale)
    launch.forward(x, shift, scale, eps, out)
    return out


@torch.library.custom_op("lsr::modulated_norm_backward", mutates_args=())
def modulated_norm_backward(
    grad: Tensor, x: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, in its type, and of shift and scale, in float32."""
    dx = x.new_empty(x.shape)
    return dx, *launch.backward(grad, x, scale, eps, dx)


@modulated_norm.register_fake
def _(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    return _empty_output(x, shift, scale)


@modulated_norm_backward.register_fake
def _(grad: Tensor, x: Tensor, scale: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    dshift, dscale = x.new_empty((2, *scale.shape), dtype=torch.float32)
    # Clones, because outputs of an operator must not share memory.
    return x.new_empty(x.shape), dshift.clone(), dscale.clone()


def _remember(ctx, inputs, output) -> None:
    x, shift, scale, ctx.eps = inputs
    ctx.shift_type = shift.dtype
    ctx.save_for_backward(x, scale)


def _gradient(ctx, grad):
    x, scale = ctx.saved_tensors
    dx, dshift, dscale = modulated_norm_backward(grad, x, scale, ctx.eps)
    return dx, dshift.to(ctx.shift_type), dscale.to(scale.dtype), None


modulated_norm.register_autograd(_gradient, setup_context=_remember)
