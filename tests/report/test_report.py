"""`lsr report`: what a run's files say stands in the page, and nothing else does."""

import dataclasses
import json
import math
import re

import pytest
from support.run_folder import (
    CONFIG,
    knee_of,
    launch,
    psnr,
    write_log,
    write_pictures,
    write_run,
)
from support.web_page import WebPage

from lsr.cli import main
from lsr.report import document
from lsr.runs.launches import write_launches


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "runs" / "stage1")


def report(capsys, *folders) -> WebPage:
    """Write a report by the command line and read it back."""
    assert main(["report", *map(str, folders)]) == 0
    out = capsys.readouterr().out
    assert out == f"{folders[0] / 'report.html'}\n"
    return WebPage((folders[0] / "report.html").read_text())


def headings(page):
    return [
        (int(name[1]), words) for name, _, words in page.elements if re.fullmatch("h[1-6]", name)
    ]


def verdicts(page):
    return [
        words for attributes, words in page.all("p") if "verdict" in (attributes.get("class") or "")
    ]


def test_the_verdict_comes_first_with_the_knee_of_the_run(run, capsys):
    page = report(capsys, run)
    assert headings(page)[:2] == [(1, "Report of runs/stage1"), (2, "Verdict")]
    assert verdicts(page) == [f"Knee at step {knee_of(run):,}"]
    assert "It was confirmed at step" in page.text and "80 % interval of the knee" in page.text


def test_the_numbers_are_those_of_the_log(run, capsys):
    page = report(capsys, run)
    head, first, *_ = page.rows("Validation metrics")
    found = dict(zip(head, first, strict=True))
    assert found["metric"] == "val/psnr_y"
    assert (
        found["at the knee"] == f"{psnr(knee_of(run)):.5g}" and found["first"] == f"{psnr(100):.5g}"
    )
    values = dict(page.rows("val/psnr_y: ")[1:])
    assert (
        values[f"{knee_of(run):,}"] == f"{psnr(knee_of(run)):.5g}"
        and values["2,400"] == f"{psnr(2400):.5g}"
    )


def test_values_that_are_not_finite_hide_no_others(run, capsys):
    def curve(step):
        return {100: math.nan, 200: math.inf}.get(step, psnr(step))

    write_log(run, {"val/psnr_y": curve, "val/niqe": lambda step: math.nan})
    head, psnr_y, niqe = report(capsys, run).rows("Validation metrics")
    found, none = (dict(zip(head, row, strict=True)) for row in (psnr_y, niqe))
    assert (found["first"], found["lowest"], found["highest"]) == (
        "NaN",
        f"{psnr(300):.5g}",
        f"{psnr(2400):.5g}",
    )
    assert (none["lowest"], none["highest"]) == ("–", "–")


def test_cost_hardware_versions_and_command_are_those_of_the_launches(run, capsys):
    facts = [words for _, words in report(capsys, run).all("dd")]
    assert "3 min 20 s of training and validation in 2 launches, 2,500 steps" in facts
    assert facts.count("lsr fit --config stage1.yaml") == 1
    assert "device Abacus 9000, cores 3" in facts and "torch 2.99" in facts


def test_charts_show_knee_interval_and_headroom_and_say_so_in_words(run, capsys):
    page = report(capsys, run)
    labels = [a["aria-label"] or "" for a, _ in page.all("svg") if a.get("role") == "img"]
    (of_psnr,) = [label for label in labels if label.startswith("val/psnr_y")]
    assert f"knee at step {knee_of(run):,}" in of_psnr and "80 % interval" in of_psnr
    assert f"to {psnr(2400):.5g} at 2,400" in of_psnr
    (headroom,) = [label for label in labels if "headroom" in label]
    assert "1: float16 overflows" in headroom and "logarithmic" in headroom


def test_everybody_can_read_and_use_the_page(run, capsys):
    page = report(capsys, run)
    levels = [level for level, _ in headings(page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(a["alt"] for a, _ in page.all("img"))
    assert all(a.get("aria-label") or "aria-hidden" in a for a, _ in page.all("svg"))
    assert all(a["aria-label"] for a, _ in page.all("input"))
    identities = [a["id"] for _, a, _ in page.elements if "id" in a]
    assert len(identities) == len(set(identities))
    links = {(a["href"] or "").removeprefix("#") for a, _ in page.all("a")}
    assert links <= set(identities)
    assert all(a["scope"] for a, _ in page.all("th"))


def test_the_page_needs_nothing_else(run, capsys):
    page = report(capsys, run)
    loaded = [a[name] or "" for _, a, _ in page.elements for name in ("src", "href") if name in a]
    assert loaded and all(each.startswith(("data:image/", "#")) for each in loaded)
    source = (run / "report.html").read_text()
    assert "@import" not in source and "url(" not in source


def test_names_of_strangers_are_text(tmp_path, capsys):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    run = write_run(tmp_path / "<b>run</b>", CONFIG + f"notes: {json.dumps(evil)}\n")
    write_log(run, {f"val/{evil.replace(chr(34), '')}": psnr, "val/psnr_y": psnr})
    divergence = {"step": 3, "reason": evil, "samples": [{"tags": [evil]}]}
    (run / "divergence.json").write_text(json.dumps(divergence))
    other = write_run(tmp_path / "other")
    page = report(capsys, run, other)
    assert len(page.all("script")) == 1 and not page.all("b")
    assert all((a["src"] or "").startswith("data:") for a, _ in page.all("img"))
    assert page.text.count("<script>alert(1)</script>") > 3


def test_a_divergence_comes_before_the_knee(run, capsys):
    report_of_run = {"step": 1500, "reason": "the gradient norm is nan"}
    (run / "divergence.json").write_text(json.dumps(report_of_run))
    page = report(capsys, run)
    assert verdicts(page) == [f"Diverged at step 1,500; knee at step {knee_of(run):,}"]
    assert "The gradient norm is nan." in page.text


def test_without_a_knee_the_reason_is_told(run, capsys):
    (run / "knee" / "knee.json").unlink()
    write_log(run, {"val/psnr_y": lambda step: step / 100, "val/niqe": lambda step: -step / 100})
    page = report(capsys, run)
    assert verdicts(page) == ["No knee confirmed"]
    assert "No knee by step 2,400" in page.text


def test_a_knee_that_was_not_published_is_told_as_such(run, capsys):
    step = knee_of(run)
    (run / "knee" / "knee.json").unlink()
    assert verdicts(report(capsys, run)) == [f"Knee at step {step:,}, not published"]


def test_several_runs_are_compared(run, tmp_path, capsys):
    other = write_run(tmp_path / "runs" / "faster", CONFIG.replace("3.0e-3", "1.0e-2"))
    page = report(capsys, run, other)
    assert page.rows("Settings that differ: 1; ")[1:] == [["model.optimizer.lr", "0.003", "0.01"]]
    assert [row[:2] for row in page.rows("The runs side by side")[1:]] == [
        ["runs/stage1", f"Knee at step {knee_of(run):,}"],
        ["runs/faster", f"Knee at step {knee_of(run):,}"],
    ]


def test_experts_are_shown_over_the_flow_time(tmp_path, capsys):
    run = write_run(tmp_path, CONFIG.replace("KneePointCallback", "ExpertQuality"))
    (run / "knee" / "knee.json").unlink()
    (run / "experts").mkdir()
    numbers = {"step": 400, "times": [0.25, 0.75], "losses": [0.9, 0.9], "knee_losses": [1.0, 1.0]}
    more = {"boundaries": [0.5], "shift": 3.0}
    (run / "experts" / "loss_by_time.json").write_text(json.dumps(numbers | more))
    page = report(capsys, run)
    assert verdicts(page) == ["Experts 10 % below the loss of the knee"]
    assert page.rows("Validation loss by flow time")[1:] == [
        ["0.5", "0.9", "1", "-10"],
        ["0.9", "0.9", "1", "-10"],
    ]


FILES = [
    "metrics.csv",
    "config.yaml",
    "launches.json",
    "knee/knee.json",
    "divergence.json",
    "images/step-0000100.png",
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", [b"", b"\x89\xff\x00", b'{"step": ', b"[1, NaN]"])
def test_a_damaged_file_is_told_and_the_rest_is_shown(run, file, content, capsys):
    (run / file).write_bytes(content)
    page = report(capsys, run)
    assert (2, "What could not be read") in headings(page)
    told = [words for _, words in page.all("li") if file.rpartition("/")[2] in words]
    assert told and all(len(line.splitlines()) == 1 for line in told)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, "x", 10**400])
def test_a_launch_of_another_shape_is_told(run, wrong, capsys):
    record = dataclasses.asdict(launch(0, 100)) | {"seconds": wrong}
    (run / "launches.json").write_text(json.dumps({"launches": [record]}))
    assert "launches.json: not a record of launches" in report(capsys, run).text


def test_a_torn_row_is_told(run, capsys):
    with (run / "metrics.csv").open("a") as file:
        file.write("2500,2")
    assert "its last row is incomplete" in report(capsys, run).text


@pytest.mark.parametrize("wrong", [{}, {"step": "x"}, {"step": True}, {"step": 10**400}, []])
def test_a_knee_of_another_shape_is_told(run, wrong, capsys):
    (run / "knee" / "knee.json").write_text(json.dumps(wrong))
    assert "knee.json: does not have step" in report(capsys, run).text


@pytest.mark.parametrize("content", ["{}", "[]", '{"images": 1}', "", '{"images": {"scored": 1}}'])
def test_an_evaluation_of_another_shape_is_told(tmp_path, content, capsys):
    (tmp_path / "summary.json").write_text(content)
    assert "summary.json: not as lsr eval writes it" in report(capsys, tmp_path).text


def write_evaluation(folder):
    """Write an evaluation without a metric."""
    parts = "results beside unavailable failed model hardware versions metrics".split()
    summary = {part: {} for part in parts} | {
        "images": {"scored": 0, "found": 2},
        "data": "pairs",
        "command": "lsr eval",
        "threads": 1,
        "conventions": [],
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def test_a_run_and_an_evaluation_in_one_folder_are_both_shown(run, capsys):
    write_evaluation(run)
    page = report(capsys, run)
    assert verdicts(page) == [f"Knee at step {knee_of(run):,}", "No metric could be computed"]
    assert (2, "Evaluation runs/stage1") in headings(page)


def test_means_of_an_evaluation_are_not_called_good(tmp_path, capsys):
    """Nothing says what would be good, and perhaps no metric could be computed."""
    write_evaluation(tmp_path)
    page = report(capsys, tmp_path)
    assert verdicts(page) == ["No metric could be computed"]
    assert not [a for a, _ in page.all("p") if "good" in (a.get("class") or "")]


def test_a_folder_without_files_of_a_run_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "photo.png").write_bytes(b"")
    for folder, reason in (
        (tmp_path, "no "),
        (tmp_path / "nowhere", "no such folder\n"),
        (tmp_path / "photo.png", "not a folder\n"),
    ):
        assert main(["report", str(folder)]) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"lsr report: {folder}: {reason}") and err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_the_size_is_bounded_and_what_is_left_out_is_told(run, capsys, monkeypatch):
    monkeypatch.setattr(document, "LARGEST", 400_000)
    write_pictures(run, range(100, 2401, 100), size=(120, 160))
    write_log(run, {"val/psnr_y": psnr} | {f"train/{i}": psnr for i in range(60)})
    page = report(capsys, run)
    assert (run / "report.html").stat().st_size <= 400_000
    assert re.search(r"[1-9]\d* curves are left out", page.text)
    assert re.search(r"\d+ of 24 steps are shown", page.text)
    steps = [a["data-step"] for a, _ in page.all("figure") if "data-step" in a]
    assert f"step {knee_of(run):,}, the knee" in steps and "step 2,400" in steps


def test_sections_that_are_still_too_long_are_left_out_and_named(run, capsys, monkeypatch):
    monkeypatch.setattr(document, "LARGEST", 130_000)
    (run / "config.yaml").write_text(CONFIG + f"notes: {'x' * 50_000}\n")
    page = report(capsys, run)
    assert (run / "report.html").stat().st_size <= 130_000
    assert "This section is left out" in page.text and (2, "Settings") in headings(page)
    assert verdicts(page) == [f"Knee at step {knee_of(run):,}"]


def test_a_run_that_was_killed_or_still_trains_says_so(run, capsys):
    write_launches(run, [launch(0, 1300)])
    assert "The newest launch, at step 1,300: no end is recorded" in report(capsys, run).text
