import csv
import math

from lsr.runs.table import mean_over_runs, write_table

ROWS = [
    {"model": "a", "psnr": 24.0, "niqe": 5.0},
    {"model": "b", "psnr": 23.0, "niqe": 6.0},
    {"model": "a", "psnr": 24.2, "niqe": 5.0},
]


def test_runs_of_one_model_become_their_mean_and_its_half_range():
    assert mean_over_runs(ROWS, "model") == [
        {"model": "a", "psnr": "24.10 ± 0.10", "niqe": "5"},
        {"model": "b", "psnr": "23", "niqe": "6"},
    ]


def test_a_number_that_is_none_costs_no_table():
    rows = [
        {"model": "a", "niqe": math.nan},
        {"model": "a", "niqe": 5.0},
        {"model": "b", "niqe": math.inf},
    ]
    assert [row["niqe"] for row in mean_over_runs(rows, "model")] == ["nan", "inf"]


def test_a_column_that_some_runs_lack_says_how_many_have_it():
    rows = [
        {"model": "a", "psnr": 24.0},
        {"model": "a", "diverged": 7},
        {"model": "b", "psnr": 23.0},
    ]
    assert mean_over_runs(rows, "model") == [
        {"model": "a", "psnr": "24 (1 of 2)", "diverged": "7 (1 of 2)"},
        {"model": "b", "psnr": "23", "diverged": "–"},
    ]


def test_texts_are_listed_for_every_run_and_the_name_once():
    rows = [{"model": "a", "diverged": step} for step in ("34", "17", "17")]
    assert mean_over_runs(rows, "model") == [{"model": "a", "diverged": "34, 17, 17"}]


def test_the_table_is_markdown_and_every_run_is_kept(tmp_path):
    table = write_table(ROWS, tmp_path / "out", "model")
    lines = [
        "| model | psnr | niqe |",
        "| --- | --- | --- |",
        "| a | 24.10 ± 0.10 | 5 |",
        "| b | 23 | 6 |",
    ]
    assert table == "".join(f"{line}\n" for line in lines)
    assert (tmp_path / "out" / "table.md").read_text() == table
    with (tmp_path / "out" / "runs.csv").open(newline="") as file:
        assert [
            {**row, "psnr": float(row["psnr"]), "niqe": float(row["niqe"])}
            for row in csv.DictReader(file)
        ] == ROWS
