import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import kstest, truncnorm
from support.tiny import TINY

from lsr.experts.config import ExpertsConfig
from lsr.flow.snr import PUBLISHED
from lsr.training.module import LinearSRModule

SINGLE = replace(TINY, context_dim=0, depth=1)


def test_training_times_belong_to_the_sample_and_hold_the_terminal_fraction():
    module = LinearSRModule(TINY, terminal_fraction=0.3)
    t = module._training_times(torch.arange(4000))
    assert (t == 1).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(module._training_times(torch.arange(7, 9)), t[7:9])
    rest = t[t < 1]
    assert rest.min() > 0 and rest.std() > 0.1


def test_without_a_terminal_fraction_no_time_is_exactly_one():
    assert (LinearSRModule(TINY)._training_times(torch.arange(4000)) < 1).all()


def test_super_resolving_is_a_function_of_lr_and_seed(loader):
    module = LinearSRModule(TINY, num_inference_steps=2)
    torch.nn.init.normal_(
        module.denoiser.net.out.weight, std=0.1, generator=torch.Generator().manual_seed(0)
    )
    batch = next(iter(loader))
    with torch.no_grad():
        one = module.super_resolve(batch)
        assert torch.equal(one, module.super_resolve(batch))
        assert not torch.equal(one, module.super_resolve(batch | {"seed": batch["seed"] + 1}))


def test_a_fraction_outside_of_its_range_is_refused():
    with pytest.raises(ValueError, match="terminal_fraction"):
        LinearSRModule(TINY, terminal_fraction=1.5)


@pytest.mark.parametrize("expert", range(4))
def test_times_of_an_expert_have_the_density_they_would_have_had(expert):
    """The logit of the times, less the shift, is normal; an expert has a part of that density."""
    module = LinearSRModule(
        SINGLE,
        shift=6.0,
        logit_mean=-0.5,
        logit_std=1.2,
        experts=ExpertsConfig("knee", expert=expert),
    )
    t = module._training_times(torch.arange(4000))
    assert (module.denoiser.route(t) == expert).all() and t.dtype == torch.float32
    low, high = module.denoiser.interval(expert)
    ends = (torch.logit(torch.tensor([low, high], dtype=torch.float64)) - math.log(6) + 0.5) / 1.2
    z = (torch.logit(t.double()) - math.log(6) + 0.5) / 1.2
    assert kstest(z, truncnorm(*ends.tolist()).cdf).pvalue > 0.01
    assert kstest(z + 0.05, truncnorm(*ends.tolist()).cdf).pvalue < 0.01, "the test can tell"


def test_the_terminal_fraction_is_the_last_experts():
    fraction = 0.3
    single = LinearSRModule(SINGLE, shift=6.0, terminal_fraction=fraction)._training_times(
        torch.arange(40_000)
    )
    expected = (single == 1).sum() / (single >= PUBLISHED[-1]).sum()
    for expert in range(4):
        module = LinearSRModule(
            SINGLE,
            shift=6.0,
            terminal_fraction=fraction,
            experts=ExpertsConfig("knee", expert=expert),
        )
        t = module._training_times(torch.arange(50_000, 60_000))
        assert (t == 1).float().mean().item() == pytest.approx(
            expected.item() if expert == 3 else 0, abs=0.02
        )
