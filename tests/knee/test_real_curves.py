"""`experiments/knee/curves`: every file can be replayed and has its row, and answers are judged."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from support.experiment_scripts import experiment_script
from support.processes import ROOT

from lsr.cli import main

KNEE = ROOT / "experiments" / "knee"
FILES = sorted((KNEE / "curves").glob("*.csv"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return experiment_script("knee/replay_curves")


def test_every_file_has_its_row_in_the_readme_and_in_the_documentation(script: ModuleType) -> None:
    names = [curve.name for curve in script.read_curves()]
    assert sorted(names) == [file.stem for file in FILES]
    lines = (ROOT / "docs" / "knee-scores.md").read_text().splitlines()
    first = lines.index(script.head(script.COLUMNS)[0]) + 2
    shown = [line.strip("| ").split(" | ")[:3] for line in lines[first : first + len(names)]]
    curves = script.read_curves()
    assert [row[0] for row in shown] == names
    assert [row[2] for row in shown] == [curve.answer_in_words for curve in curves]


def test_the_answers_lie_on_the_curves(script: ModuleType) -> None:
    for curve in script.read_curves():
        history = curve.log().validations(curve.metrics)
        assert len(history) >= 15, curve.name
        limits = [step for limits in curve.ranges for step in limits]
        assert limits == sorted(limits), curve.name
        assert all(history[0].step < step < history[-1].step for step in limits), curve.name
        assert curve.ranges or curve.may_have_none, curve.name


@pytest.mark.parametrize(
    ("answer", "knee", "outcome"),
    [
        ("20-50 or 101-105", 20, "found"),
        ("20-50 or 101-105", 105, "found"),
        ("20-50 or 101-105", 19, "early"),
        ("20-50 or 101-105", 70, "late"),
        ("20-50 or 101-105", None, "missed"),
        ("none", None, "none, as the person"),
        ("none", 20, "false alarm"),
        ("80-84 or none", None, "none, as the person"),
        ("80-84 or none", 20, "early"),
    ],
)
def test_a_step_is_compared_with_a_persons_answer(
    script: ModuleType, answer: str, knee: int | None, outcome: str
) -> None:
    assert script.RealCurve.of("a.csv", "val/loss:min", answer).judge(knee) == outcome


def test_a_metric_that_never_changes_has_no_share_of_the_gain(script: ModuleType) -> None:
    row = next(curve for curve in script.read_curves() if curve.name == "graph_gat")
    alone = script.RealCurve.of("graph_gat.csv", "val/loss:min", "none")
    assert row.metrics == {"val/loss": "min", "val/accuracy": "max"}
    assert script.gain_made(row, row.log(), 6) == script.gain_made(alone, alone.log(), 6)


def test_the_script_agrees_with_the_command(
    script: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    names = ["cifar10_pgd_l2_50", "snli_esim"]
    script.main(names)
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    for curve in (curve for curve in script.read_curves() if curve.name in names):
        metrics = ",".join(f"{name}:{way}" for name, way in curve.metrics.items())
        file = KNEE / "curves" / f"{curve.name}.csv"
        assert main(["knee", str(file), "--metrics", metrics, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        row = next(row for row in rows if row[0] == curve.name)
        picked = "diverged" if report["diverged"] else str(report["knee_step"] or "none")
        assert row[3] == picked
        assert row[6] == curve.judge(report["knee_step"])


def test_the_tables_of_a_document_are_replaced(script: ModuleType, tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\nafter\n")
    script.replace_table(document, ["| a | b |", "|---|---|", "| 5 | 6 |"])
    assert document.read_text() == "before\n\n| a | b |\n|---|---|\n| 5 | 6 |\n\nafter\n"
    with pytest.raises(ValueError, match="no table begins with"):
        script.replace_table(document, ["| c |"])
