import pytest
import torch
from support.tiny import TINY

from lsr.models.denoiser import Denoiser
from lsr.training.optimizer import OptimizerConfig, build_optimizer


def names_of(group, module):
    ids = {id(p) for p in group["params"]}
    return {name for name, p in module.named_parameters() if id(p) in ids}


def test_what_is_decayed_and_what_is_not():
    module = Denoiser(TINY)
    optimizer, _ = build_optimizer([module], OptimizerConfig(weight_decay=0.1))
    decayed, kept = (names_of(group, module) for group in optimizer.param_groups)
    assert (
        optimizer.param_groups[0]["weight_decay"] == 0.1
        and optimizer.param_groups[1]["weight_decay"] == 0
    )
    assert decayed | kept == {name for name, _ in module.named_parameters()} and not decayed & kept
    assert {
        "net.blocks.0.ffn.inverted.weight",
        "net.blocks.0.attention.out.weight",
        "net.blocks.1.ffn.depthwise.weight",
    } <= decayed
    assert {
        "net.blocks.0.attention.qkv.weight",
        "net.blocks.0.cross_attention.q.weight",
        "net.blocks.0.cross_attention.kv.weight",
        "net.blocks.0.ffn.inverted.bias",
        "net.blocks.0.scale_shift_table",
        "net.scale_shift_table",
        "net.context_embedding.norm.weight",
    } <= kept


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_queries_and_keys_have_a_decay_of_their_own_if_it_is_asked_for(weight_decay):
    module = Denoiser(TINY)
    optimizer, schedule = build_optimizer(
        [module], OptimizerConfig(weight_decay=weight_decay, qk_decay=0.3)
    )
    decayed, kept, qk = (names_of(group, module) for group in optimizer.param_groups)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [weight_decay, 0.0, 0.3]
    assert len(schedule.lr_lambdas) == 3
    assert sum(map(len, (decayed, kept, qk))) == len(list(module.parameters()))
    assert qk == {
        f"net.blocks.{i}.{name}.weight"
        for i in (0, 1)
        for name in ("attention.qkv", "cross_attention.q", "cross_attention.kv")
    }
    plain, _ = build_optimizer([module], OptimizerConfig(weight_decay=weight_decay))
    assert len(plain.param_groups) == 2 and qk <= names_of(plain.param_groups[1], module)


def test_frozen_weights_are_left_out():
    module = Denoiser(TINY)
    module.stem.requires_grad_(False)
    optimizer, _ = build_optimizer([module], OptimizerConfig())
    assert not any(
        name.startswith("stem")
        for group in optimizer.param_groups
        for name in names_of(group, module)
    )


def test_warm_up_is_linear_then_constant():
    optimizer, schedule = build_optimizer(
        [torch.nn.Linear(2, 2)], OptimizerConfig(lr=1.0, warmup_steps=4)
    )
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_a_learning_rate_of_zero_is_refused():
    with pytest.raises(ValueError, match="lr must be positive"):
        OptimizerConfig(lr=0)
    with pytest.raises(ValueError, match="qk_decay must be at least 0"):
        OptimizerConfig(qk_decay=-0.1)
