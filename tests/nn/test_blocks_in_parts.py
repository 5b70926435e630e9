"""The parts of a block, and how far the LR stem reaches."""

import pytest
import torch

from lsr.nn.block import LinearDiTBlock
from lsr.nn.embeddings import LRStem


@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_parts_of_a_block_give_the_block(qk_norm, generator):
    block = LinearDiTBlock(32, 16, cross_heads=2, mlp_ratio=2.5, qk_norm=qk_norm)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    x = torch.randn(2, 5 * 7, 32, generator=generator)
    modulation = torch.randn(2, 6, 32, generator=generator)
    context = torch.randn(2, 3, 32, generator=generator)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    expected = block(x, (5, 7), modulation, context, mask)
    top, bottom = x[:, :14], x[:, 14:]
    means = (block.sums(top, modulation) + block.sums(bottom, modulation)) / 35
    keys_values = block.cross_attention.keys_values(context)
    parts = [block.attend(part, modulation, means, keys_values, mask) for part in (top, bottom)]
    result = block.feed_forward(torch.cat(parts, dim=1), (5, 7), modulation)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("reduction", "reach"), [(1, 3), (2, 3), (4, 4), (8, 7), (16, 15)])
def test_the_stem_reaches_as_far_as_it_says(reduction, reach, generator):
    stem = LRStem(reduction, 4)
    assert stem.reach == reach
    lr = torch.randn(1, 3, 1, 16 * reduction, generator=generator).requires_grad_()
    position = 8
    stem(lr.expand(-1, -1, 64 * reduction, -1))[..., 32, position].sum().backward()
    seen = lr.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    first = position * reduction
    assert first - reach <= seen.min() and seen.max() <= first + reduction - 1 + reach
    assert seen.min() == first - reach, "the reach is not larger than needed"
