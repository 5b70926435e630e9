"""The adversarial losses, and the gradient penalty of the discriminators."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the hinge loss of a discriminator (arXiv 1705.02894), a scalar.

    It is `mean max(0, 1 - real) + mean max(0, 1 + fake)`: 2 for a discriminator that does not tell
    the two apart and answers 0, and 0 if it separates all of them by a margin.

    Args:
        real: Logits of real images, of any shape.
        fake: Logits of generated images.
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Return the loss of the generator, `-mean fake`, for the logits of its images."""
    return -fake.mean()


def r1_penalty(logits: Sequence[Tensor], features: Sequence[Tensor]) -> Tensor:
    """Return the gradient penalty R1 (arXiv 1801.04406) of heads, a scalar.

    As in adversarial diffusion distillation (arXiv 2311.17042) the gradient is taken at the inputs
    of the heads, not at the pixels. It is the mean over images and positions of the squared norm of
    the gradient of the sum of all logits of a head, summed over the heads.

    Args:
        logits: For each head its logits (B, 1, H, W) of real images.
        features: For each head its input (B, C, H, W), which requires gradients.
    """
    gradients = torch.autograd.grad(
        [each.sum() for each in logits], list(features), create_graph=True
    )
    return torch.stack([each.square().sum(1).mean() for each in gradients]).sum()
