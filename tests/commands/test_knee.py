"""`lsr knee` on logs with a knee, on logs without a knee, and with mistakes."""

import csv
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from lsr.commands.knee import main
from lsr.knee import KneeDetector

STEPS = range(500, 30_001, 500)
COLUMNS = (
    "step",
    "train/loss",
    "val/musiq",
    "val/niqe",
    "val/psnr_y",
    "val/psnr_y_bicubic",
    "val/loss",
)
METRICS = {"val/musiq": "max", "val/niqe": "min", "val/psnr_y": "max"}


def rows(noise=0.02, seed=0):
    """An exponential rise with its knee at step 10,000."""
    generator = np.random.default_rng(seed)
    for step in STEPS:
        musiq, niqe, psnr = -math.expm1(-3 * step / 10_000) + noise * generator.normal(size=3)
        yield step, math.exp(-step / 9_000), 40 + 30 * musiq, 6 - 2 * niqe, 24 + psnr, 23.0, 0.3


def write(path, table):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *table])
    return path


@pytest.fixture
def log(tmp_path):
    return write(tmp_path / "metrics.csv", rows())


def run(capsys, *arguments):
    assert main(["knee", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def replayed(capsys, *arguments):
    return json.loads(run(capsys, *arguments, "--json"))


def test_it_says_what_the_detector_would_have_said(log, capsys):
    detector = KneeDetector(METRICS)
    for step, loss, musiq, niqe, psnr, *_ in rows():
        verdict = detector.update(
            step, {"val/musiq": musiq, "val/niqe": niqe, "val/psnr_y": psnr}, loss
        )
    report = replayed(capsys, log)
    assert verdict.knee_step is not None
    assert (report["knee_step"], report["confirmed_at_step"]) == (
        verdict.knee_step,
        verdict.confirmed_at_step,
    )
    assert (
        report["per_metric"] == verdict.per_metric
        and report["metrics"] == METRICS
        and report["loss"] == "train/loss"
    )
    text = run(capsys, log)
    assert (
        f"knee at step {verdict.knee_step:,}, confirmed at step {verdict.confirmed_at_step:,}"
        in text
    )
    assert all(name in text for name in METRICS) and "bicubic" not in text


def test_a_run_folder_with_event_files_is_the_same_run(log, tmp_path, capsys):
    with SummaryWriter(str(tmp_path / "run")) as writer:
        for step, *values in rows():
            for name, value in zip(COLUMNS[1:], values, strict=True):
                writer.add_scalar(name, value, step)
    from_events, from_csv = replayed(capsys, tmp_path / "run"), replayed(capsys, log)
    assert [from_events[key] for key in ("knee_step", "confirmed_at_step")] == [
        from_csv[key] for key in ("knee_step", "confirmed_at_step")
    ]


def test_no_knee_is_told_with_the_reason(tmp_path, capsys):
    rising = write(tmp_path / "metrics.csv", list(rows())[:10])
    report, text = replayed(capsys, rising), run(capsys, rising)
    assert report["knee_step"] is None and not report["diverged"]
    assert "no knee by step 5,000" in text and report["reason"] in text


def test_divergence_ends_the_replay_but_what_was_known_stays(tmp_path, capsys):
    table = [(*row[:1], math.nan if row[0] >= 5_000 else row[1], *row[2:]) for row in rows()]
    report = replayed(capsys, write(tmp_path / "metrics.csv", table))
    assert report["diverged"] and report["step"] == 5_000 and report["knee_step"] is None
    assert all(record["noise_to_gain"] > 0 for record in report["per_metric"].values())


def test_min_step_holds_the_confirmation_back(log, capsys):
    assert replayed(capsys, log, "--min-step", 25_000)["confirmed_at_step"] >= 25_000


@pytest.mark.parametrize(("noise", "advised"), [(0.002, False), (0.15, True)])
def test_noisy_metrics_bring_advice(tmp_path, capsys, noise, advised):
    text = run(capsys, write(tmp_path / "metrics.csv", rows(noise)))
    assert ("add validation images" in text) == advised and "noise/gain" in text


def test_leaving_one_out_is_a_replay_with_the_others(log, capsys):
    left_out = {
        row["without"]: row for row in replayed(capsys, log, "--leave-one-out")["leave_one_out"]
    }
    assert set(left_out) == set(METRICS)
    without_niqe = replayed(capsys, log, "--metrics", "val/musiq:max,val/psnr_y:max")
    assert left_out["val/niqe"]["knee_step"] == without_niqe["knee_step"]
    assert left_out["val/niqe"]["confirmed_at_step"] == without_niqe["confirmed_at_step"]
    assert "needs two metrics" in run(capsys, log, "--leave-one-out", "--metrics", "val/musiq")


def test_comparison_names_the_best_checkpoint_of_every_metric(log, capsys):
    compared = replayed(capsys, log, "--compare")["compare"]
    best = {
        row["metric"]: row["picked_step"]
        for row in compared
        if row["stopped_at_step"] is None and "end" in row["rule"]
    }
    columns = dict(zip(COLUMNS, zip(*rows(), strict=True), strict=True))
    assert best == {
        name: STEPS[int(np.argmax(np.array(columns[name]) * (1 if way == "max" else -1)))]
        for name, way in METRICS.items()
    }
    text = run(capsys, log, "--compare")
    assert text.index("EarlyStopping(patience=5)") < text.index("provisional knee at step")


def test_the_figure_is_written_only_when_asked_for(log, tmp_path, capsys):
    run(capsys, log)
    assert list(tmp_path.iterdir()) == [log]
    assert str(tmp_path / "knee.png") in run(capsys, log, "--png")
    assert replayed(capsys, log, "--png", tmp_path / "other" / "figure.PNG")["png"] == str(
        tmp_path / "other" / "figure.PNG"
    )
    for path in (tmp_path / "knee.png", tmp_path / "other" / "figure.PNG"):
        with Image.open(path) as picture:
            picture.verify()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "val/fid:min"], "no curve is called val/fid; there are .*val/musiq"),
        (["--loss", "val/x"], "no curve is called val/x"),
        (["--png", "figure.jpg"], "must end in .png"),
        (["--min-step", "-1"], "min_step"),
    ],
)
def test_mistakes_are_one_clear_line(log, arguments, message):
    with pytest.raises(ValueError, match=message):
        main(["knee", str(log), *arguments])


def test_a_log_without_a_known_metric_names_what_there_is(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("step,score,val/loss\n1,2,3\n")
    with pytest.raises(ValueError, match="--metrics NAME:max or NAME:min among score, val/loss"):
        main(["knee", str(path)])


def test_an_unwritable_figure_is_one_clear_line(log, tmp_path):
    with pytest.raises(ValueError, match="metrics.csv"):
        main(["knee", str(log), "--png", str(log / "knee.png")])


def test_the_benchmark_needs_no_log(capsys):
    report = replayed(capsys, "--benchmark", "--curves", 2, "--seed", 4)
    assert report["runs_with_knee"] + report["runs_without_knee"] == 2
    assert "this detector" in report["rules"] and report["seed"] == 4
    words = run(capsys, "--benchmark", "--curves", 2)
    assert "judged correctly by this detector" in words


def test_a_log_or_the_benchmark_is_needed():
    with pytest.raises(ValueError, match="needs the PATH of a log, or --benchmark"):
        main(["knee"])
    with pytest.raises(ValueError, match="at least one simulated run"):
        main(["knee", "--benchmark", "--curves", "0"])


def test_a_curve_that_creeps_is_named(tmp_path, capsys):
    table = (
        (step, 1.0, *(height * unit + 0.01 * unit for unit in (9, -2, 1)), 23.0, 0.3)
        for step in STEPS
        for height in [math.log1p(20 * step / 30_000)]
    )
    path = write(tmp_path / "metrics.csv", table)
    assert replayed(capsys, path)["creeping"].startswith("no plateau: ")
    (line,) = [line for line in run(capsys, path).splitlines() if "no plateau" in line]
    assert line.startswith("no knee by step 30,000; no plateau: ")
    assert line.endswith(" of the gain still to come by step 60,000")


def test_interval_and_improvement_to_come_are_told(log, capsys):
    report, text = replayed(capsys, log), run(capsys, log)
    low, high = report["interval"]
    assert f"80 % interval of the knee: step {low:,} to {high:,}" in text
    for name in METRICS:
        first, second = report["remaining"][name]
        assert f"  {name}: " in text and f"by step {second['step']:,}" in text
        assert first["low"] <= first["gain"] <= first["high"]


def test_the_provisional_knee_of_the_log_and_of_the_run_are_told(log, tmp_path, capsys):
    revisions = replayed(capsys, log)["revisions"]
    assert len(revisions) > 1 and "provisional knee at step" in revisions[0]
    text = run(capsys, log)
    assert all(line in text for line in revisions) and "provisional.json" not in text
    (tmp_path / "knee").mkdir()
    found = {
        "step": 9_500,
        "probability": 0.7,
        "judged_at_step": 12_000,
        "weights": "w.safetensors",
    }
    (tmp_path / "knee" / "provisional.json").write_text(json.dumps(found))
    assert "knee/provisional.json of the run: step 9,500, weights in w" in run(capsys, tmp_path)
    assert replayed(capsys, tmp_path)["provisional"] == found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda table: table[:6], "only 6 validations so far: a knee needs at least 7"),
        (
            lambda table: [(row[0], 1.0, 50.0, 5.0, 24.0, 23.0, 0.3) for row in table],
            "no metric has changed in 60 validations",
        ),
        (lambda table: [*table, *rows(seed=1)], "step 500 came twice"),
        (lambda table: [*table[:4], *table[:1], *table[4:]][::-1], None),
        (
            lambda table: [(*r[:3], "" if r[0] > 5_000 else r[3], *r[4:]) for r in table],
            "val/niqe has no finite value since step 5,000",
        ),
    ],
    ids=["few", "constant", "repeated", "repeated with the same values", "gone"],
)
def test_bad_input_is_told_in_one_line_and_nothing_is_confirmed(tmp_path, capsys, change, reason):
    path = write(tmp_path / "metrics.csv", change(list(rows())))
    report, text = replayed(capsys, path), run(capsys, path)
    assert (report["knee_step"] is None) == (reason is not None)
    if reason is not None:
        assert report["reason"].startswith(reason)
        assert sum(report["reason"] in line for line in text.splitlines()) == 1


def test_every_line_counts_in_the_unit_of_the_log(tmp_path, capsys):
    table = [(step // 500, *values) for step, *values in rows(noise=0.03)]
    path = write(tmp_path / "epochs.csv", table)
    path.write_text(path.read_text().replace("step", "epoch", 1))
    out = run(capsys, path, "--leave-one-out")
    assert "provisional knee at epoch " in out and "confirmed: 95 %" in out
    assert not re.search(r"\bstep \d", out)


def test_a_negative_step_is_told_with_its_file(tmp_path):
    path = write(tmp_path / "metrics.csv", [(step - 5000, *values) for step, *values in rows()])
    with pytest.raises(ValueError, match=r"metrics.csv: the step -4500 of a validation is neg"):
        main(["knee", str(path)])


def test_the_verb_starts_without_heavy_imports():
    code = (
        "import sys; import lsr.commands.knee; "
        "heavy = {'torch', 'lightning', 'numpy', 'tensorboard', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
