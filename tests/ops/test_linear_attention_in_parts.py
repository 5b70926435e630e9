"""Linear attention computed from the sums of parts compared with the reference."""

import pytest
import torch

from lsr.ops.linear_attention import attend_to_means, key_value_sums
from lsr.ops.linear_attention.reference import linear_attention_reference


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("dim", [5, 16])
def test_parts_attend_as_all_tokens_together(heads, dim, generator):
    q, k, v = torch.randn(3, 2, 37, heads, dim, generator=generator)
    expected = linear_attention_reference(q, k, v)
    cuts = (0, 1, 20, 37)
    parts = [slice(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    sums = sum(key_value_sums(k[:, part], v[:, part]) for part in parts)
    assert isinstance(sums, torch.Tensor) and sums.shape == (2, heads, dim, dim + 1)
    together = torch.cat([attend_to_means(q[:, part], sums / 37) for part in parts], dim=1)
    torch.testing.assert_close(together, expected, rtol=1e-5, atol=1e-6)


def test_half_precision_is_summed_in_float32(generator):
    q, k, v = torch.randn(3, 1, 4096, 2, 8, generator=generator)
    k = 40 * k
    sums = key_value_sums(k.half(), (40 * v).half())
    assert sums.dtype == torch.float32 and sums[..., -1].max() > 65504, "float16 would overflow"
    out = attend_to_means(q.half(), sums / 4096)
    expected = linear_attention_reference(q.half(), k.half(), (40 * v).half())
    assert out.dtype == torch.float16
    torch.testing.assert_close(out, expected, rtol=2e-3, atol=2e-3)


def test_autocast_does_not_reach_the_sums(generator):
    q, k, v = torch.randn(3, 1, 37, 2, 8, generator=generator)
    sums = key_value_sums(k, v)
    attended = attend_to_means(q, sums / 37)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(key_value_sums(k, v), sums)
        assert torch.equal(attend_to_means(q, sums / 37), attended)


def test_a_dead_token_attends_to_nothing():
    q = -torch.ones(1, 3, 2, 4)
    sums = key_value_sums(torch.ones(1, 3, 2, 4), torch.ones(1, 3, 2, 4))
    assert torch.equal(attend_to_means(q, sums / 3), torch.zeros(1, 3, 2, 4))
