"""The adversarial losses and the gradient penalty, against values worked out by hand."""

import math

import torch

from lsr.student.adversarial import discriminator_loss, generator_loss, r1_penalty


def test_the_hinge_loss_teaches_up_to_the_margin_and_no_further():
    real = torch.tensor([2.0, 0.5, -1.0, 3.0], requires_grad=True)
    fake = torch.tensor([-3.0, 0.5], requires_grad=True)
    loss = discriminator_loss(real, fake)
    # mean(0, 0.5, 2, 0) + mean(0, 1.5)
    torch.testing.assert_close(loss, torch.tensor(0.625 + 0.75))
    loss.backward()
    assert real.grad is not None and fake.grad is not None
    assert real.grad.tolist() == [0.0, -0.25, -0.25, 0.0]
    assert fake.grad.tolist() == [0.0, 0.5]


def test_the_generator_raises_every_logit_alike():
    fake = torch.tensor([-3.0, 0.5], requires_grad=True)
    generator_loss(fake).backward()
    assert fake.grad is not None and fake.grad.tolist() == [-0.5, -0.5]


def test_r1_of_linear_heads_is_the_squared_norm_of_their_weights():
    first = torch.tensor([3.0, 4.0], requires_grad=True)
    second = torch.tensor([1.0, -2.0, 2.0], requires_grad=True)
    features = [
        torch.randn(2, len(w), 3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
        for w in (first, second)
    ]
    logits = [
        torch.einsum("bchw,c->bhw", each, w)[:, None]
        for each, w in zip(features, (first, second), strict=True)
    ]
    penalty = r1_penalty(logits, features)
    torch.testing.assert_close(penalty, torch.tensor(25.0 + 9.0))
    penalty.backward()
    assert first.grad is not None
    torch.testing.assert_close(first.grad, 2 * first.detach())


def test_r1_does_not_grow_with_the_image():
    def penalty(side):
        features = torch.full((1, 1, side, side), 0.3, requires_grad=True)
        return r1_penalty([features.sin()], [features]).item()

    assert math.isclose(penalty(2), math.cos(0.3) ** 2, rel_tol=1e-6)
    assert math.isclose(penalty(2), penalty(16), rel_tol=1e-6)
