from dataclasses import replace

import torch
from support.tiny import TINY

from lsr.flow.noise import seeded_normal
from lsr.flow.timesteps import shift_timesteps
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture
from lsr.training.validation_loss import ValidationLoss


def losses(denoiser, batch):
    return ValidationLoss(denoiser, 3.0)(
        batch, lambda shape: seeded_normal(batch["seed"], shape, 1, torch.device("cpu"))
    )


def test_loss_does_not_depend_on_what_shares_the_batch(loader):
    denoiser, batch = Denoiser(TINY), next(iter(loader))
    together = losses(denoiser, batch)["loss"]
    alone = torch.cat(
        [
            losses(denoiser, {key: value[i : i + 1] for key, value in batch.items()})["loss"]
            for i in range(2)
        ]
    )
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_photographs_of_any_size_have_a_loss(generator):
    denoiser = Denoiser(TINY)
    lr, hr = (torch.rand(1, 3, 7 * s, 9 * s, generator=generator) * 2 - 1 for s in (1, TINY.scale))
    assert denoiser.lr_multiple > 1
    loss = losses(denoiser, {"lr": lr, "hr": hr, "seed": torch.tensor([3])})["loss"]
    assert loss.shape == (1,) and loss.isfinite().all()


def test_the_middle_of_an_experts_share_is_its_own():
    mixture = ExpertMixture(replace(TINY, context_dim=0, depth=1), (0.223, 0.875, 0.939))
    times = dict(ValidationLoss(mixture, 6.0).times)
    assert len(times.pop("loss")) > 1
    middles = shift_timesteps(torch.tensor(list(times.values())), 6.0).flatten()
    assert mixture.route(middles).tolist() == [0, 1, 2, 3]
