"""`lsr doctor` reports what is there, and never fails itself."""

import json
import socket

import pytest
import torch
from support.patience import PATIENCE_S

import lsr.ops.glu_conv.dispatch
from lsr.cli import main
from lsr.commands import doctor, doctor_checks
from lsr.commands.doctor_checks import CHECKS, NEEDED, Missing
from lsr.metrics.cards import CARDS
from lsr.models import pretrained
from lsr.ops import kernel_check


def test_on_this_machine_all_that_is_needed_works_without_a_network(monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("the doctor asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(doctor_checks, "_KERNEL_SECONDS", PATIENCE_S)
    monkeypatch.setattr("lsr.inference.memory.free_bytes", lambda device: 2**31)
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and list(report["checks"]) == list(CHECKS)
    broken = {name: each for name, each in report["checks"].items() if each["state"] == "broken"}
    assert broken == {}
    assert report["checks"]["versions"]["facts"]["torch"] == torch.__version__.partition("+")[0]


@pytest.fixture
def instead(monkeypatch, capsys):
    """Return a function that runs the doctor with other checks and returns code and report."""

    def run(*options, **checks):
        every = dict.fromkeys(CHECKS, lambda: {"all": "well"}) | checks
        monkeypatch.setattr(doctor, "CHECKS", every)
        return main(["doctor", *options]), capsys.readouterr().out

    return run


def failing(error):
    def check():
        raise error

    return check


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_that_raises_is_a_line_and_an_error_only_if_it_is_needed(name, instead):
    code, report = instead(**{name: failing(KeyError("cpu\nmodel"))})
    assert code == (1 if name in NEEDED else 0)
    [line] = [line for line in report.splitlines() if line.startswith(name)]
    assert line.split()[1:] == ["broken", "not", "available:", "'cpu\\nmodel'"]
    assert ("does not work" in report) == (name in NEEDED)


def test_on_a_gpu_the_kernels_are_needed(instead):
    gpu = {"GPU 0": "a fast one"}
    assert instead(kernels=failing(ValueError("wrong")), devices=lambda: gpu)[0] == 1
    assert instead(devices=lambda: gpu)[0] == 0


def test_what_is_missing_is_no_error_and_long_facts_have_lines_of_their_own(instead):
    code, report = instead(metrics=failing(Missing({"niqe": "fetch it " + 30 * "from far "})))
    assert code == 0 and "metrics   missing  niqe: fetch it from far" in report
    assert max(map(len, report.splitlines())) <= 100
    code, report = instead("--json", metrics=failing(Missing({"niqe": "fetch it"})))
    found = {"state": "missing", "needed": False, "facts": {"niqe": "fetch it"}}
    assert json.loads(report)["checks"]["metrics"] == found


def test_a_damaged_model_is_told(monkeypatch, tmp_path):
    copy = tmp_path / "faithful.safetensors"
    data = bytearray(pretrained.PACKAGED["faithful"].read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    monkeypatch.setitem(pretrained.PACKAGED, "faithful", copy)
    state, facts = doctor.finding(CHECKS["models"])
    assert state == "broken"
    assert facts["not available"] == (
        f"{copy} is not the published file: install the package again"
    )


def test_weights_are_looked_for_where_they_are_used(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    state, facts = doctor.finding(CHECKS["metrics"])
    assert state == "missing" and "niqe" not in facts["ready"]
    assert any(f"to {tmp_path / 'hub' / 'pyiqa'}" in way for way in facts)
    for card in CARDS.values():
        for file in card.weights:
            path = tmp_path / "hub" / file.folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert doctor.finding(CHECKS["metrics"]) == ("ok", {"ready": ", ".join(CARDS)})
    state, facts = doctor.finding(CHECKS["taggers"])
    assert state == "missing" and facts["ram"].startswith("no weights/ram_swin_large_14m.pth")
    (tmp_path / "weights").mkdir()
    for name in ("ram_swin_large_14m.pth", "ram_plus_swin_large_14m.pth"):
        (tmp_path / "weights" / name).touch()
    assert doctor.finding(CHECKS["taggers"])[0] == "ok"


def test_a_wrong_kernel_is_named(monkeypatch, capsys):
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # so that the variable is restored
    right = lsr.ops.glu_conv.dispatch.glu_conv
    assert kernel_check.main() == 0
    monkeypatch.setattr(lsr.ops.glu_conv.dispatch, "glu_conv", lambda *inputs: 1.1 * right(*inputs))
    assert kernel_check.main() == 1
    assert "wrong: gated convolution (by 1e-01)" in capsys.readouterr().out
