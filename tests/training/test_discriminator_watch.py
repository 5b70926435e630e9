"""The watch of the discriminators averages losses of any type."""

import pytest
import torch

from lsr.training.discriminator_watch import DiscriminatorWatch


def test_losses_in_bfloat16_are_averaged_over_many_batches():
    watch = DiscriminatorWatch(patience=3)
    for _ in range(1000):
        watch.keep({"unet": torch.tensor(1.5, dtype=torch.bfloat16)})
    state = watch.state_dict()
    assert state["sums"]["unet"] / state["batches"] == pytest.approx(1.5)
