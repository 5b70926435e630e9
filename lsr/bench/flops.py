"""Floating-point operations and weights of the transformer by arithmetic: what a measured time is compared with."""

from torch import nn

from lsr.nn.block import LinearDiTBlock
from lsr.nn.dit import LinearDiT


def forward_flops(net: LinearDiT, samples: int, tokens: int, context: int = 0) -> int:
    """Return the operations of matrix products and convolutions in one forward pass; a multiplication and its addition are two.

    Training takes three times as much: the gradient of every product is two of its size.

    Args:
        net: The transformer.
        samples: Images B.
        tokens: Latent positions N of an image.
        context: Context tokens L of an image; 0 leaves the cross-attention out.
    """
    width, channels = net.embed.out_features, net.embed.in_features
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
    width, hidden = net.embed.out_features, block.ffn.point.in_features
    projections = 2 * tokens * width * 4 * width
    attention = (
        2 * tokens * width * (2 * block.attention.head_dim + 1)
    )  # S = k v and its use, and the denominator
    feed_forward = 2 * tokens * hidden * (2 * width + 2 * 9 + width)
    cross = 0
    if context:
        cross = 2 * width * (2 * tokens * width + 2 * context * width + 2 * tokens * context)
    return projections + attention + feed_forward + cross
