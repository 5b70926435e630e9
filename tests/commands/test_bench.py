"""`lsr bench`: it may not show the time of a wrong result."""

import csv
import importlib
import sys
import types

import pytest
import torch

from lsr.bench import attention as bench_attention
from lsr.bench import model as bench_model
from lsr.bench import ops as bench_ops
from lsr.bench import peers as bench_peers
from lsr.cli import main
from lsr.commands.bench import SUITES


@pytest.fixture
def small(monkeypatch):
    """The real cases at sizes of a test; nothing is compiled."""
    monkeypatch.setattr(bench_attention, "sizes", lambda large: [(1, 64, 2, 16)])
    monkeypatch.setattr(bench_ops, "sizes", lambda large: [(1, 2, 8)])
    monkeypatch.setattr(bench_model, "sizes", lambda large: (4, 64, 1, 3))
    monkeypatch.setattr(torch, "compile", lambda function: function)


def bench(out, *suites, seconds="0.01"):
    return main(["bench", *suites, "--out", str(out), "--seconds", seconds, "--device", "cpu"])


def rows(path, both_ways=False):
    """By implementation, of the forward calls or of those with a backward call."""
    with path.open() as file:
        return {
            row["implementation"]: row
            for row in csv.DictReader(file)
            if row["shape"].endswith("backward") == both_ways
        }


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_has_a_module_that_measures(suite):
    assert callable(importlib.import_module(SUITES[suite]).measure)


def test_every_implementation_is_right_and_has_a_time(small, tmp_path, capsys):
    assert bench(tmp_path, "attention", "model") == 0
    attention = rows(tmp_path / "attention.csv")
    model = rows(tmp_path / "model.csv")
    sums = {"sums in float16", "sums in bfloat16", "sums in float32"}
    assert set(attention) == {"plain", "plain, torch.compile", "lsr", "softmax (SDPA)"} | sums
    assert set(model) == {"diffusers", "lsr"}
    for row in (attention["lsr"], model["lsr"]):
        assert float(row["ms"]) > 0 and float(row["times faster"]) > 0
        assert 0 < float(row["error"]) < 1e-3
    assert attention["softmax (SDPA)"]["error"] == "another function"
    assert attention["plain"]["times faster"] == model["diffusers"]["times faster"] == "1.00"
    out = capsys.readouterr().out
    assert "float32, torch" in out and "roofline" in out
    assert (tmp_path / "model.md").read_text().count("|") == 40


def test_every_operator_has_a_time_forward_and_with_its_gradients(small, tmp_path):
    assert bench(tmp_path, "attention", "ops") == 0
    for both_ways in (False, True):
        attention = rows(tmp_path / "attention.csv", both_ways)
        ops = rows(tmp_path / "ops.csv", both_ways)
        assert {"plain", "lsr", "softmax (SDPA)"} < set(attention)
        assert set(ops) == {"plain", "plain, torch.compile", "lsr"}
        for row in (attention["lsr"], ops["lsr"]):
            assert float(row["ms"]) > 0 and float(row["times faster"]) > 0
            assert float(row["error"]) < 1e-3
    shapes = [row["shape"] for row in csv.DictReader((tmp_path / "ops.csv").open())]
    assert sorted({shape.split()[0] for shape in shapes}) == ["glu_conv", "modulated_norm"]


def test_a_wrong_gradient_has_no_time(small, tmp_path, monkeypatch):
    """The output is right; that of the gradients which is smallest is not."""

    def half_the_scale(x, shift, scale):
        return bench_ops.modulated_norm_reference(x, shift, scale / 2 + scale.detach() / 2)

    monkeypatch.setattr(bench_ops, "modulated_norm", half_the_scale)
    assert bench(tmp_path, "ops") == 1
    wrong = [
        (row["implementation"], row["shape"])
        for row in csv.DictReader((tmp_path / "ops.csv").open())
        if "WRONG" in row["ms"]
    ]
    assert wrong == [("lsr", "modulated_norm B1 N4 D8, forward+backward")]


def test_what_cannot_run_is_named_and_the_others_are_measured(small, tmp_path, monkeypatch):
    def broken(qkv, eps):
        raise RuntimeError("no such kernel\nlong story")

    monkeypatch.setattr(bench_attention, "linear_attention", broken)
    assert bench(tmp_path, "attention") == 1
    found = rows(tmp_path / "attention.csv")
    assert found["lsr"]["ms"] == "FAILED: RuntimeError: no such kernel"
    assert float(found["softmax (SDPA)"]["ms"]) > 0


def test_kernels_of_other_projects_are_rows_if_installed_and_named_if_not(
    small, tmp_path, monkeypatch, capsys
):
    bench(tmp_path, "attention")
    for text in (capsys.readouterr().out, (tmp_path / "attention.md").read_text()):
        assert "without flash_bla: " in text and "without SANA's TritonLiteMLA: " in text
    package = types.ModuleType("flash_bla.ops.linear_attn.fused")
    package.linear_attention = lambda q, k, v, eps: (
        q @ (k.mT @ v) / (q @ k.sum(-2)[..., None] + eps * q.shape[-2])
    )
    monkeypatch.setitem(sys.modules, "flash_bla.ops.linear_attn.fused", package)
    only_sana = {bench_peers.SANA: "not importable"}
    for module in (bench_peers, bench_attention):
        monkeypatch.setattr(module, "absent_peers", lambda device: only_sana)
    bench(tmp_path, "attention")
    assert float(rows(tmp_path / "attention.csv", both_ways=True)["flash_bla"]["ms"]) > 0
    out = capsys.readouterr().out
    assert "without flash_bla" not in out and "without SANA's TritonLiteMLA: not importable" in out


def test_a_wrong_result_has_no_time(small, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_attention, "linear_attention", lambda qkv, eps: 1.01 * qkv[:, :, 2])
    assert bench(tmp_path, "attention") == 1
    wrong = rows(tmp_path / "attention.csv")["lsr"]
    assert wrong["ms"].startswith("WRONG") and not wrong["times faster"]


def test_the_curves_of_the_suite_scaling_are_drawn_and_summarised(small, tmp_path, capsys):
    assert bench(tmp_path, "scaling", seconds="0.005") == 0
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    assert "time grows as N^" in capsys.readouterr().out
    assert "softmax ms" in (tmp_path / "scaling.csv").read_text()


def test_an_unknown_suite_is_refused_with_those_that_are_known(tmp_path, capsys):
    assert main(["bench", "attention", "magic", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error == f"lsr bench: unknown part 'magic'; known are {', '.join(SUITES)}\n"
