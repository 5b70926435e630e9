"""Blend the weights of the two models in this package: texture by choice."""

import copy

import torch
from torch import nn

from lsr.models.checkpoint import load_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.initialisation import initialise
from lsr.models.pretrained import PACKAGED


def load_blend(fidelity: float) -> tuple[Denoiser, float]:
    """Return a model between the perceptual and the faithful one, and the shift of its flow times.

    Every weight is `(1 - fidelity) perceptual + fidelity faithful`, the interpolation of networks
    of ESRGAN (arXiv 1809.00219, section 3.4). It needs no second pass over the picture. It works
    because the training of the one began at the other. The faithful model has no head: its head is
    that of the perceptual one with a last layer of 0, which corrects nothing.

    Args:
        fidelity: From 0, the perceptual model, to 1, the faithful one.

    Returns:
        The model in evaluation mode on the CPU, without gradients, and the shift.
    """
    model, shift = load_denoiser(PACKAGED["perceptual"])
    assert isinstance(model, Denoiser)
    faithful = copy.deepcopy(model)
    assert faithful.head is not None
    for parameter in faithful.head.last.parameters():
        nn.init.zeros_(parameter)
    initialise(faithful, PACKAGED["faithful"])
    with torch.no_grad():
        for weight, other in zip(model.parameters(), faithful.parameters(), strict=True):
            weight.lerp_(other, fidelity)
    return model, shift
