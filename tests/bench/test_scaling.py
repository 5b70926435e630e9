"""The curves of time over tokens: where they end, their exponent, and where they cross."""

from types import SimpleNamespace

import pytest
import torch

from lsr.bench import scaling
from lsr.bench.scaling import Curve, crossing


def test_the_exponent_is_that_of_the_largest_sizes():
    tokens = (256, 512, 1024, 2048, 4096)
    curve = Curve("x", tokens, tuple(1e-3 if n < 1024 else 1e-9 * n**2 for n in tokens))
    assert curve.exponent == pytest.approx(2)


@pytest.mark.parametrize(
    ("linear", "softmax", "first"),
    [((3, 3, 3, 3), (1, 2, 4, 8), 1024), ((1, 1, 1), (2, 2, 2), 256), ((5, 5, 5), (1, 6, 2), None)],
)
def test_the_crossing_is_where_linear_begins_to_stay_faster(linear, softmax, first):
    tokens = tuple(256 * 2**i for i in range(len(linear)))
    assert crossing(Curve("l", tokens, linear), Curve("s", tokens, softmax)) == first


def test_curves_end_where_a_call_would_take_too_long(monkeypatch):
    def timed(call, device, seconds):
        (qkv,) = call.args
        assert call().shape[1] == qkv.shape[1]
        power = 1 if call.func is scaling.linear_attention else 2
        return SimpleNamespace(seconds=1e-4 * (qkv.shape[1] / 256) ** power)

    monkeypatch.setattr(scaling, "time_calls", timed)
    linear, softmax = scaling.scaling_curves(torch.device("cpu"), torch.float32, 0.02, heads=2)
    assert softmax.tokens == (256, 512, 1024, 2048), "4096 take 26 ms"
    assert linear.tokens == (*softmax.tokens, 4096, 8192, 16384)
    assert (linear.exponent, softmax.exponent) == (pytest.approx(1), pytest.approx(2))
