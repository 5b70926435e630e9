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
            "beside": {},
            "missing_beside": {},
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
    return next(
        [cell.strip(" *") for cell in line.split("|")[2:-1]]
        for line in text.splitlines()
        if line.startswith(f"| {name}")
    )


def test_published_values_are_compared_by_the_name_of_the_metric(report):
    text = report()
    assert "other methods" not in text
    assert row(text, "method") == ["maniqa", "musiq", "clipiqa"]
    assert row(text, "LinearSR") == ["0.515", "71.914", "0.72"]
    assert row(text, "TSD-SR") == ["0.47", "71.505", "–"]
    assert row(text, "**this evaluation**") == ["–", "70.5", "–"], "maniqa-pipal is not maniqa"
    assert "`maniqa`: fetch this to there" in text


def test_other_methods_are_listed_with_means_and_paired_differences(report):
    theirs = {
        "musiq": {
            "mean": 68.0,
            "mean_n": 249,
            "difference": 2.5,
            "ci95": [2.0, 3.0],
            "n": 249,
            "better_in": 200,
        },
        "niqe": {
            "mean": 3.0,
            "mean_n": 250,
            "difference": None,
            "ci95": None,
            "n": 0,
            "better_in": 0,
        },
    }
    results = {"musiq": result(70.5), "niqe": result(4.0)}
    text = report(
        results=results,
        beside={"bicubic": theirs, "x": theirs},
        missing_beside={"x": {"a": "damaged"}},
    )
    assert row(text, "mean") == ["ours", "bicubic", "x"] and row(text, "musiq ↑") == [
        "70.5000",
        "1.0000",
        "70.4000 to 70.6000",
        "250",
    ]
    section = text[text.index("## Comparison with other methods") :]
    assert row(section, "musiq ↑") == ["70.5000", "68.0000 (n 249)", "68.0000 (n 249)"]
    assert row(section, "niqe ↓") == ["4.0000", "3.0000", "3.0000"], "of as many images as ours"
    differences = section[section.index("ours - theirs") :]
    assert row(differences, "musiq ↑")[0] == "+2.5000 [2.0000, 3.0000], better in 200 of 249"
    assert row(differences, "niqe ↓")[0] == "–"
    assert "- `a`, x: damaged" in section


def test_an_incomplete_data_set_is_compared_with_nothing(report):
    assert row(report(results={"musiq": result(70.5, n=249)}), "**this evaluation**") == [
        "–",
        "–",
        "–",
    ]


@pytest.mark.parametrize("protocol", ["crop128", "paired", "custom"])
def test_other_protocols_have_no_published_table(report, protocol):
    assert protocol not in PUBLISHED
    assert "published values" not in report(protocol=protocol)


def test_figures_carry_direction_interval_and_number(report):
    assert row(report(), "niqe ↓") == ["4.0000", "1.0000", "3.9000 to 4.1000", "250"]
    assert row(report(), "musiq ↑")[0] == "70.5000"
