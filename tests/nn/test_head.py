"""The head that refines predicted patches: what it starts from, and how far it sees."""

from dataclasses import replace

import pytest
import torch

from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.nn.head import RefiningHead

SMALL = DenoiserConfig(width=32, depth=1, head_dim=16, stem_width=8)


def test_a_new_head_leaves_a_trained_denoiser_unchanged(generator):
    without = Denoiser(SMALL)
    for parameter in without.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    refined = Denoiser(replace(SMALL, head_width=8))
    missing, unexpected = refined.load_state_dict(without.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("head.") for name in missing)
    lr = torch.rand(2, 3, 8, 12, generator=generator) * 2 - 1
    x = torch.randn(2, 192, 4, 6, generator=generator)
    t = torch.tensor([1.0, 0.5])
    velocities = [model(x, t, model.condition(lr)) for model in (without, refined)]
    assert torch.equal(*velocities) and velocities[0].std() > 0.1


def test_a_correction_reaches_as_far_as_the_head_says(generator):
    head = RefiningHead(patch_size=8, scale=4, width=8, depth=1).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    lr = torch.rand(1, 3, 24, 24, generator=generator).double()
    prediction = torch.randn(1, 192, 12, 12, generator=generator).double()
    changed = lr.clone()
    changed[..., 12, 12] += 1
    difference = head(prediction, changed) - head(prediction, lr)
    image = torch.nn.functional.pixel_shuffle(difference, 8)[0].abs().sum(0)
    rows, columns = image.nonzero().T
    pixels = 4 * (12 - head.reach), 4 * (12 + head.reach + 1) - 1
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == pixels


def test_a_head_refines_pixels_and_no_latents():
    with pytest.raises(ValueError, match="head_width: the head refines pixels"):
        replace(SMALL, head_width=8, autoencoder="folder")
