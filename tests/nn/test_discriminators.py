"""The discriminators' networks: sizes, spectral norms, and gradients to what they judge."""

import pytest
import torch

from lsr.nn.discriminators import FeatureHead, UNetDiscriminator


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (21, 13)])
def test_the_u_net_judges_every_pixel_of_an_image_of_any_size(size, generator):
    network = UNetDiscriminator(4)
    image = torch.randn(2, 3, *size, generator=generator).requires_grad_()
    logits = network(image)
    assert logits.shape == (2, 1, *size)
    (gradient,) = torch.autograd.grad(logits.sum(), image)
    assert (gradient != 0).all()


def test_a_pixel_is_judged_by_its_surroundings_at_three_levels(generator):
    network = UNetDiscriminator(4).eval()
    image = torch.randn(1, 3, 64, 64, generator=generator).requires_grad_()
    (gradient,) = torch.autograd.grad(network(image)[0, 0, 32, 32], image)
    reach = gradient.abs().sum(1)[0].nonzero()
    assert reach.min() < 32 - 16 and reach.max() > 32 + 16


@pytest.mark.parametrize("network", [UNetDiscriminator(4), FeatureHead(6, 5)])
def test_training_brings_the_spectral_norms_to_one(network, generator):
    channels = 6 if isinstance(network, FeatureHead) else 3
    for _ in range(60):  # each call in training refines the estimate
        network(torch.randn(1, channels, 8, 8, generator=generator))
    normed = [m for m in network.modules() if hasattr(m, "parametrizations")]
    assert normed
    for layer in normed:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        torch.testing.assert_close(norm, torch.tensor(1.0), rtol=0.02, atol=0)
