"""Floating-point operations of the transformer: by arithmetic, and as PyTorch counts them."""

from collections.abc import Callable

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lsr.nn.block import LinearDiTBlock
from lsr.nn.dit import LinearDiT


def counted_flops(call: Callable[[], object]) -> int:
    """Return the floating-point operations that PyTorch counts in one call.

    PyTorch counts matrix products and convolutions. It does not count its fused softmax attention
    on a CPU.
    """
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def forward_flops(net: LinearDiT, samples: int, tokens: int, context: int = 0) -> int:
    """Return the floating-point operations of one forward pass.

    Only matrix products and convolutions count; a multiplication and its addition are two
    operations. A training step needs three times as many: the backward pass has two products of the
    same size for each product of the forward pass, one for each factor's gradient.

    Args:
        net: The transformer.
        samples: Images B.
        tokens: Latent positions N of an image.
        context: Context tokens L of an image; 0 leaves the cross-attention out.
    """
    width = net.embed.out_features
    channels = net.embed.in_features
    time = 2 * width * (net.time_embedding.frequencies + width + 6 * width)
    ends = 2 * tokens * width * (channels + net.out.out_features)
    words = 0
    if context:
        assert net.context_embedding is not None
        first = net.context_embedding.mlp[0]
        assert isinstance(first, nn.Linear)
        words = 2 * context * width * (first.in_features + width)
    return samples * (time + ends + words + len(net.blocks) * _block_flops(net, tokens, context))


def _block_flops(net: LinearDiT, tokens: int, context: int) -> int:
    block = net.blocks[0]
    assert isinstance(block, LinearDiTBlock)
    width = net.embed.out_features
    hidden = block.ffn.point.in_features
    projections = 2 * tokens * width * 4 * width
    # The state k^T v, its product with q, and the product of q and the denominator's sum of keys.
    attention = 2 * tokens * width * (2 * block.attention.head_dim + 1)
    # The gated network has twice `hidden` channels up to its 3 x 3 convolution.
    feed_forward = 2 * tokens * hidden * (2 * width + 2 * 9 + width)
    cross = 0
    if context:
        cross = 2 * width * (2 * tokens * width + 2 * context * width + 2 * tokens * context)
    return projections + attention + feed_forward + cross
