import pytest
import torch

from lsr.flow.classifier_free import guided


def two_fields(x, t):
    """Return velocities of t with context and of 3 t without."""
    with_context, without = x.chunk(2)
    assert torch.equal(with_context, without), "both halves look at the same state"
    return torch.cat([torch.ones_like(with_context), torch.full_like(without, 3.0)]) * t[:, None]


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 3.0), (1.0, 1.0), (2.0, -1.0), (4.5, -6.0)])
def test_guidance_goes_from_the_field_without_context_to_the_one_with_it_and_beyond(
    scale, expected
):
    x, t = torch.zeros(3, 2), torch.tensor([1.0, 0.5, 0.25])
    torch.testing.assert_close(guided(two_fields, scale)(x, t), expected * t[:, None].expand(3, 2))
