import torch

from lsr.bench.guidance import context_cases


def test_every_way_is_right_and_keys_and_values_once_cost_less():
    cases = {
        case.name: case
        for case in context_cases(torch.device("cpu"), torch.float32, 4, 64, 2, context_dim=24)
    }
    assert all(case.error() < case.tolerance for case in cases.values())
    none, tags, caption = cases["no tags"], cases["16 tags"], cases["300 tokens"]
    assert none.flops < tags.flops < caption.flops
    assert caption.flops < cases["300 tokens, keys and values at every step"].flops
    assert cases["16 tags, guided (batch of 2)"].flops == 2 * tags.flops
    assert [name for name, case in cases.items() if case.baseline] == ["no tags"]
