"""The counter-example: right while the sums fit, and not finite where they do not."""

import pytest
import torch

from lsr.ops.linear_attention.naive import naive_linear_attention
from lsr.ops.linear_attention.reference import linear_attention_reference

STORED = ("sums", "products")
SCALINGS = ("none", "tokens", "keys")


def draw(generator, size=1.0, tokens=64):
    """Keys and values whose sums add up: the mean of the values is their size."""
    q, k, v = torch.randn(3, 2, tokens, 2, 8, generator=generator)
    return q, size * k, size * (v + 1)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_in_float32_it_is_the_reference(generator, stored, scaling):
    q, k, v = draw(generator)
    found = naive_linear_attention(q, k, v, torch.float32, stored, scaling, eps=0.0)
    expected = linear_attention_reference(q, k, v, eps=0.0)
    alive = q.relu().amax(-1) > 0
    torch.testing.assert_close(found[alive], expected[alive], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("stored", STORED)
def test_small_sums_are_right_up_to_the_rounding(generator, dtype, error, stored):
    q, k, v = draw(generator)
    found = naive_linear_attention(q, k, v, dtype, stored)
    expected = linear_attention_reference(q, k, v)
    assert float((found - expected).norm() / expected.norm()) < error
    assert (found != expected).any()


def test_float16_overflows_first_in_the_products_then_in_the_sums(generator):
    def finite(size, stored, dtype=torch.float16, scaling="none"):
        found = naive_linear_attention(*draw(generator, size, 1024), dtype, stored, scaling)
        return bool(torch.isfinite(found).all())

    assert finite(2.0, "products")
    assert finite(6.0, "sums") and not finite(6.0, "products")
    assert not finite(16.0, "sums")
    assert finite(16.0, "sums", torch.bfloat16)
    assert finite(16.0, "sums", scaling="tokens") and finite(16.0, "products", scaling="tokens")


def test_dividing_the_keys_by_their_size_makes_their_norm_harmless(generator):
    q, k, v = draw(generator, tokens=1024)
    alive = q.relu().amax(-1) > 0
    expected = linear_attention_reference(q, k, v, eps=0.0)[alive]
    for size in (1.0, 1e4):
        found = naive_linear_attention(q, size * k, v, torch.float16, "products", "keys")
        torch.testing.assert_close(found[alive], expected, rtol=0.01, atol=0.01)


def test_gradients_end_in_nan_where_the_sums_overflow(generator):
    q, k, v = (x.requires_grad_() for x in draw(generator, 16.0, 1024))
    naive_linear_attention(q, k, v, torch.float16).sum().backward()
    assert not torch.isfinite(k.grad).all()
