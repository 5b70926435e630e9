"""The benchmark: it may not show the time of a wrong result, nor fit an exponent to the wrong end of a curve."""

import csv

import pytest
import torch

from lsr import bench, bench_cases
from lsr.bench_scaling import Curve, crossing, scaling_curves
from lsr.bench_timing import Roofline, measure, measure_roofline
from lsr.cli import main

CPU = torch.device("cpu")


def few_cases(what, device, dtype):
    if what == "attention":
        return bench_cases.attention_cases(device, dtype, 1, 64, 2, 16)
    return bench_cases.model_cases(device, dtype, 4, 64, 1, context=3)


@pytest.fixture
def small(monkeypatch):
    """The real cases at sizes of a test; nothing is compiled."""
    monkeypatch.setattr(bench, "_cases", few_cases)
    monkeypatch.setattr(torch, "compile", lambda function: function)


def rows(path):
    with path.open() as file:
        return {row["implementation"]: row for row in csv.DictReader(file)}


def test_every_implementation_is_right_and_has_a_time(small, tmp_path, capsys):
    assert main(["bench", "attention", "model", "--out", str(tmp_path), "--seconds", "0.01", "--device", "cpu"]) == 0
    attention, model = rows(tmp_path / "attention.csv"), rows(tmp_path / "model.csv")
    assert set(attention) == {"plain", "plain, torch.compile", "lsr", "softmax (SDPA)"} and set(model) == {"diffusers", "lsr"}
    for row in (attention["lsr"], model["lsr"]):
        assert float(row["ms"]) > 0 and 0 < float(row["error"]) < 1e-3 and float(row["times faster"]) > 0
    assert attention["softmax (SDPA)"]["error"] == "another function"
    assert attention["plain"]["times faster"] == model["diffusers"]["times faster"] == "1.00"
    out = capsys.readouterr().out
    assert "float32, torch" in out and "roofline" in out
    assert (tmp_path / "model.md").read_text().count("|") == 40


def test_a_wrong_result_has_no_time(small, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_cases, "linear_attention", lambda qkv, eps: 1.01 * qkv[:, :, 2])
    assert main(["bench", "attention", "--out", str(tmp_path), "--seconds", "0.01", "--device", "cpu"]) == 1
    wrong = rows(tmp_path / "attention.csv")["lsr"]
    assert wrong["ms"].startswith("WRONG") and not wrong["times faster"]


def test_curves_are_drawn_and_told(small, tmp_path, capsys):
    assert main(["bench", "scaling", "--out", str(tmp_path), "--seconds", "0.005", "--device", "cpu"]) == 0
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    assert "time grows as N^" in capsys.readouterr().out and "softmax ms" in (tmp_path / "scaling.csv").read_text()


def test_the_exponent_is_that_of_the_largest_sizes():
    tokens = (256, 512, 1024, 2048, 4096)
    curve = Curve("x", tokens, tuple(1e-3 if n < 1024 else 1e-9 * n**2 for n in tokens))
    assert curve.exponent == pytest.approx(2)


@pytest.mark.parametrize(
    ("linear", "softmax", "first"), [((3, 3, 3, 3), (1, 2, 4, 8), 1024), ((1, 1, 1), (2, 2, 2), 256), ((5, 5, 5), (1, 6, 2), None)]
)
def test_the_crossing_is_where_linear_begins_to_stay_faster(linear, softmax, first):
    tokens = tuple(256 * 2**i for i in range(len(linear)))
    assert crossing(Curve("l", tokens, linear), Curve("s", tokens, softmax)) == first


def test_a_measurement_is_the_median_of_calls_after_the_warm_up():
    calls = []
    taken = measure(lambda: calls.append(1), CPU, 0.0)
    assert taken.runs == 3 and len(calls) == 5 and taken.peak_bytes is None and taken.seconds >= 0


def test_the_roofline_is_the_longer_of_arithmetic_and_memory():
    line = Roofline(flops=100.0, bytes=10.0)
    assert line.least_seconds(1000, 1) == 10 and line.least_seconds(1, 1000) == 100
    measured = measure_roofline(CPU, torch.float32)
    assert measured.flops > 1e8 and measured.bytes > 1e7


def test_curves_end_where_a_call_would_take_too_long():
    linear, softmax = scaling_curves(CPU, torch.float32, limit=0.02, heads=2)
    assert linear.tokens[:2] == (256, 512) and len(softmax.tokens) <= len(linear.tokens)
    assert all(seconds < 0.02 for curve in (linear, softmax) for seconds in curve.seconds[2:-1])
