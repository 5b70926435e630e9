"""The benchmark: it may not show the time of a wrong result, nor fit an exponent to the wrong end of a curve."""

import csv
import sys
import types

import pytest
import torch

from lsr.bench import cases as bench_cases
from lsr.bench import ops as bench_ops
from lsr.bench import peers as bench_peers
from lsr.bench.scaling import Curve, crossing, scaling_curves
from lsr.bench.timing import Roofline, measure, measure_roofline
from lsr.cli import main
from lsr.commands import bench

CPU = torch.device("cpu")


def few_cases(what, device, dtype):
    if what == "attention":
        return bench_cases.attention_cases(device, dtype, 1, 64, 2, 16)
    if what == "ops":
        return [
            *bench_ops.glu_conv_cases(device, dtype, 1, 4, 3),
            *bench_ops.modulated_norm_cases(device, dtype, 1, 4, 8),
        ]
    return bench_cases.model_cases(device, dtype, 4, 64, 1, context=3)


@pytest.fixture
def small(monkeypatch):
    """The real cases at sizes of a test; nothing is compiled."""
    monkeypatch.setattr(bench, "_cases", few_cases)
    monkeypatch.setattr(torch, "compile", lambda function: function)


def rows(path, both_ways=False):
    """By implementation, of the forward calls or of those with a backward call."""
    with path.open() as file:
        return {
            row["implementation"]: row
            for row in csv.DictReader(file)
            if row["shape"].endswith("backward") == both_ways
        }


def test_every_implementation_is_right_and_has_a_time(small, tmp_path, capsys):
    assert (
        main(
            [
                "bench",
                "attention",
                "model",
                "--out",
                str(tmp_path),
                "--seconds",
                "0.01",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    attention, model = rows(tmp_path / "attention.csv"), rows(tmp_path / "model.csv")
    assert set(attention) == {"plain", "plain, torch.compile", "lsr", "softmax (SDPA)"} and set(
        model
    ) == {"diffusers", "lsr"}
    for row in (attention["lsr"], model["lsr"]):
        assert (
            float(row["ms"]) > 0
            and 0 < float(row["error"]) < 1e-3
            and float(row["times faster"]) > 0
        )
    assert attention["softmax (SDPA)"]["error"] == "another function"
    assert attention["plain"]["times faster"] == model["diffusers"]["times faster"] == "1.00"
    out = capsys.readouterr().out
    assert "float32, torch" in out and "roofline" in out
    assert (tmp_path / "model.md").read_text().count("|") == 40


def test_every_operator_has_a_time_forward_and_with_its_gradients(small, tmp_path):
    assert (
        main(
            [
                "bench",
                "attention",
                "ops",
                "--out",
                str(tmp_path),
                "--seconds",
                "0.01",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    for both_ways in (False, True):
        attention, ops = (
            rows(tmp_path / "attention.csv", both_ways),
            rows(tmp_path / "ops.csv", both_ways),
        )
        assert {"plain", "lsr", "softmax (SDPA)"} < set(attention) and set(ops) == {
            "plain",
            "plain, torch.compile",
            "lsr",
        }
        for row in (attention["lsr"], ops["lsr"]):
            assert (
                float(row["ms"]) > 0
                and float(row["error"]) < 1e-3
                and float(row["times faster"]) > 0
            )
    shapes = [row["shape"] for row in csv.DictReader((tmp_path / "ops.csv").open())]
    assert sorted({shape.split()[0] for shape in shapes}) == ["glu_conv", "modulated_norm"]


def test_a_wrong_gradient_has_no_time(small, tmp_path, monkeypatch):
    """The output is right; that of the gradients which is smallest is not."""

    def half_the_scale(x, shift, scale):
        return bench_ops.modulated_norm_reference(x, shift, scale / 2 + scale.detach() / 2)

    monkeypatch.setattr(bench_ops, "modulated_norm", half_the_scale)
    assert (
        main(["bench", "ops", "--out", str(tmp_path), "--seconds", "0.01", "--device", "cpu"]) == 1
    )
    wrong = [
        (row["implementation"], row["shape"])
        for row in csv.DictReader((tmp_path / "ops.csv").open())
        if "WRONG" in row["ms"]
    ]
    assert wrong == [("lsr", "modulated_norm B1 N4 D8, forward+backward")]


def test_what_cannot_run_is_named_and_the_others_are_measured(small, tmp_path, monkeypatch):
    def broken(qkv, eps):
        raise RuntimeError("no such kernel\nlong story")

    monkeypatch.setattr(bench_cases, "linear_attention", broken)
    assert (
        main(["bench", "attention", "--out", str(tmp_path), "--seconds", "0.01", "--device", "cpu"])
        == 1
    )
    found = rows(tmp_path / "attention.csv")
    assert (
        found["lsr"]["ms"] == "FAILED: RuntimeError: no such kernel"
        and float(found["softmax (SDPA)"]["ms"]) > 0
    )


def test_kernels_of_others_are_rows_where_they_are_installed_and_named_where_not(
    small, tmp_path, monkeypatch, capsys
):
    command = ["bench", "attention", "--out", str(tmp_path), "--seconds", "0.01", "--device", "cpu"]
    main(command)
    for told in (capsys.readouterr().out, (tmp_path / "attention.md").read_text()):
        assert "without flash_bla: " in told and "without SANA's TritonLiteMLA: " in told
    package = types.ModuleType("flash_bla.ops.linear_attn.fused")
    package.linear_attention = lambda q, k, v, eps: (
        q @ (k.mT @ v) / (q @ k.sum(-2)[..., None] + eps * q.shape[-2])
    )
    monkeypatch.setitem(sys.modules, "flash_bla.ops.linear_attn.fused", package)
    monkeypatch.setattr(
        bench_peers, "absent_peers", lambda device: {bench_peers.SANA: "not importable"}
    )
    main(command)
    assert float(rows(tmp_path / "attention.csv", both_ways=True)["flash_bla"]["ms"]) > 0
    out = capsys.readouterr().out
    assert "without flash_bla" not in out and "without SANA's TritonLiteMLA: not importable" in out


def test_a_layer_of_others_is_compared_with_ours(monkeypatch):
    def same_layer(layer):
        return [("theirs", layer)]

    monkeypatch.setattr(bench_cases, "layer_peers", same_layer)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    layers = [
        case
        for case in bench_cases.attention_cases(CPU, torch.float32, 1, 8, 2, 16)
        if case.shape.startswith("layer")
    ]
    assert [case.name for case in layers] == ["lsr", "theirs"] * 2
    assert all(error is not None and error < 1e-3 for error in (case.error() for case in layers))


def test_a_wrong_result_has_no_time(small, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_cases, "linear_attention", lambda qkv, eps: 1.01 * qkv[:, :, 2])
    assert (
        main(["bench", "attention", "--out", str(tmp_path), "--seconds", "0.01", "--device", "cpu"])
        == 1
    )
    wrong = rows(tmp_path / "attention.csv")["lsr"]
    assert wrong["ms"].startswith("WRONG") and not wrong["times faster"]


def test_curves_are_drawn_and_told(small, tmp_path, capsys):
    assert (
        main(["bench", "scaling", "--out", str(tmp_path), "--seconds", "0.005", "--device", "cpu"])
        == 0
    )
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    assert (
        "time grows as N^" in capsys.readouterr().out
        and "softmax ms" in (tmp_path / "scaling.csv").read_text()
    )


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


def test_an_unknown_suite_is_refused_with_those_that_are_known(tmp_path, capsys):
    assert main(["bench", "attention", "magic", "--out", str(tmp_path / "out")]) == 2
    assert (
        capsys.readouterr().err
        == f"lsr bench: unknown 'magic'; known are {', '.join(bench.SUITES)}\n"
    )
