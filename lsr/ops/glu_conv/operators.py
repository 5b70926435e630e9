"""Register the Triton kernels as PyTorch operators with autograd.

`torch.compile` does not look into an operator: a graph holds one call forward and one call
backward.
"""

import torch
from torch import Tensor

from lsr.ops.glu_conv import launch


def _empty_output(hidden: Tensor) -> Tensor:
    return hidden.new_empty((*hidden.shape[:-1], hidden.shape[-1] // 2))


def _empty(like: Tensor) -> Tensor:
    """Return uninitialised contiguous memory for a tensor like `like`, whose strides may differ."""
    return torch.empty(like.shape, dtype=like.dtype, device=like.device)


@torch.library.custom_op("lsr::glu_conv", mutates_args=())
def glu_conv(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Map hidden (B, H, W, 2 F), weight (2 F, 1, 3, 3) and bias (2 F,) to (B, H, W, F)."""
    out = _empty_output(hidden)
    launch.forward(hidden, weight, bias, out)
    return out


@torch.library.custom_op("lsr::glu_conv_backward", mutates_args=())
def glu_conv_backward(
    grad: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of hidden, weight and bias, in the types of these."""
    dhidden = _empty(hidden)
    dweight, dbias = launch.backward(grad, hidden, weight, bias, dhidden)
    return dhidden, dweight.to(weight.dtype), dbias.to(bias.dtype)


@glu_conv.register_fake
def _(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _empty_output(hidden)


@glu_conv_backward.register_fake
def _(grad: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _empty(hidden), _empty(weight), _empty(bias)


def _remember(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx, grad):
    return glu_conv_backward(grad, *ctx.saved_tensors)


glu_conv.register_autograd(_gradient, setup_context=_remember)
