"""Kernels of other projects among the attention cases."""

import torch

from lsr.bench import attention as bench_attention


def test_a_layer_of_another_project_is_compared_with_ours(monkeypatch):
    monkeypatch.setattr(bench_attention, "layer_peers", lambda layer: [("theirs", layer)])
    monkeypatch.setattr(torch, "compile", lambda function: function)
    cases = bench_attention.attention_cases(torch.device("cpu"), torch.float32, 1, 8, 2, 16)
    layers = [case for case in cases if case.shape.startswith("layer")]
    assert [case.name for case in layers] == ["lsr", "theirs"] * 2
    assert all(error is not None and error < 1e-3 for error in (case.error() for case in layers))
