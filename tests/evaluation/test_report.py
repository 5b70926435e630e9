import pytest

from lsr.evaluation.published import PUBLISHED
from lsr.evaluation.report import write_markdown_report


def result(mean, n=250):
    return {"n": n, "mean": mean, "std": 1.0, "ci95": [mean - 0.1, mean + 0.1]}


@pytest.fixture
def report(tmp_path):
    def make(**changes):
        summary = {
            "source": "Evaluation of model.safetensors",
            "protocol": "reallq250",
            "data": "RealLQ250",
            "photographs": 64 * "5",
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
        write_markdown_report(tmp_path, summary | changes, None)
        return (tmp_path / "report.md").read_text()

    return make


def row(text, name):
    return next(
        [cell.strip(" *") for cell in line.split("|")[2:-1]]
        for line in text.splitlines()
        if line.startswith(f"| {name}")
    )


def published(text, method):
    """Return the cells of all rows of a method."""
    return [
        [cell.strip(" *") for cell in line.split("|")[2:-1]]
        for line in text.splitlines()
        if line.startswith(f"| {method} |")
    ]


def test_published_values_are_compared_by_the_name_of_the_metric(report):
    text = report()
    assert "other methods" not in text
    assert row(text, "method") == ["musiq ↑", "niqe ↓", "source"], "maniqa-pipal is not maniqa"
    (ours,) = published(text, "**this evaluation**")
    assert ours[:2] == ["70.5", "4"]
    assert "`maniqa`: fetch this to there" in text


def test_every_published_value_has_its_source_and_contradictions_are_all_there(report):
    text = report()
    assert [cells[0] for cells in published(text, "OSEDiff")] == ["70.013", "61.21"]
    assert [cells[0] for cells in published(text, "SeeSR")] == ["70.912", "70.57", "70.38"]
    for published_row in PUBLISHED["reallq250"]:
        assert published_row.source
        assert published_row.source in {
            cells[-1] for cells in published(text, published_row.method)
        }


def test_one_metric_alone_is_compared_without_empty_columns(report):
    text = report(results={"niqe": result(4.0)})
    assert row(text, "method") == ["niqe ↓", "source"]
    (ours,) = published(text, "**this evaluation**")
    assert ours[0] == "4"
    assert not published(text, "OSEDiff") and len(published(text, "SeeSR")) == 2


def test_the_title_does_not_claim_that_the_pictures_are_those_of_the_data_set(report):
    text = report()
    assert "250 pictures of RealLQ250's size" in text and "is not checked" in text
    assert "250 real photographs" not in text
    assert "the SHA-256 `5555555555555555…`" in text


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
    text = report(results={"musiq": result(70.5, n=249)})
    assert "None: none of maniqa, musiq, clipiqa, niqe has a value for every image." in text
    assert not published(text, "SeeSR")


@pytest.mark.parametrize("protocol", ["crop128", "paired", "custom"])
def test_other_protocols_have_no_published_table(report, protocol):
    assert protocol not in PUBLISHED
    assert "published values" not in report(protocol=protocol)


def test_figures_carry_direction_interval_and_number(report):
    assert row(report(), "niqe ↓") == ["4.0000", "1.0000", "3.9000 to 4.1000", "250"]
    assert row(report(), "musiq ↑")[0] == "70.5000"
