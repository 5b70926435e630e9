import pytest

from lsr.evaluation.published import PUBLISHED
from lsr.evaluation.report import write_report


def result(mean, n=250):
    return {"n": n, "mean": mean, "std": 1.0, "ci95": [mean - 0.1, mean + 0.1]}


@pytest.fixture
def report(tmp_path):
    def make(**changes):
        summary = {
            "source": "Evaluation of model.safetensors",
            "protocol": "reallq250",
            "data": "RealLQ250",
            "images": {"found": 250, "scored": 250},
            "results": {"maniqa-pipal": result(0.61), "musiq": result(70.5), "niqe": result(4.0)},
            "unavailable": {"maniqa": "fetch this to there"},
            "failed": {},
            "without_value": {},
            "conventions": [],
            "metrics": {},
            "model": None,
            "versions": {},
            "hardware": {},
            "threads": 1,
            "command": "lsr eval",
        }
        write_report(tmp_path, summary | changes, None)
        return (tmp_path / "report.md").read_text()

    return make


def row(text, name):
    return next([cell.strip(" *") for cell in line.split("|")[2:-1]] for line in text.splitlines() if line.startswith(f"| {name}"))


def test_ours_stands_beside_what_was_measured_by_the_same_name(report):
    text = report()
    assert row(text, "method") == ["maniqa", "musiq", "clipiqa"]
    assert row(text, "LinearSR") == ["0.515", "71.914", "0.72"]
    assert row(text, "TSD-SR") == ["0.47", "71.505", "–"]
    assert row(text, "**this evaluation**") == ["–", "70.5", "–"], "maniqa-pipal is not maniqa"
    assert "`maniqa`: fetch this to there" in text


def test_half_a_data_set_stands_beside_nothing(report):
    assert row(report(results={"musiq": result(70.5, n=249)}), "**this evaluation**") == ["–", "–", "–"]


@pytest.mark.parametrize("protocol", ["crop128", "paired", "custom"])
def test_other_protocols_have_no_published_table(report, protocol):
    assert protocol not in PUBLISHED
    assert "published figures" not in report(protocol=protocol)


def test_figures_carry_direction_interval_and_number(report):
    assert row(report(), "niqe ↓") == ["4.0000", "1.0000", "3.9000 to 4.1000", "250"]
    assert row(report(), "musiq ↑")[0] == "70.5000"
