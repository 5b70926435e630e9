"""Tests of reading the files that TensorBoard, Lightning's CSV logger and LinearSR write."""

import csv
import math

import pytest
from lightning.pytorch.loggers import CSVLogger
from torch.utils.tensorboard import SummaryWriter

from lsr.runs.csv_logger import MetricsCSVLogger
from lsr.runs.history import RunLog, Validation

CURVES = {
    "train/loss": {10: 2.0, 20: 1.0, 30: 0.5, 40: 0.25},
    "val/musiq": {20: 50.0, 40: 60.0},
    "val/niqe": {20: 5.0, 40: 4.5},
}


def write_events(folder, curves, **options):
    with SummaryWriter(str(folder), **options) as writer:
        for step in sorted(set().union(*curves.values())):
            for name, values in curves.items():
                if step in values:
                    writer.add_scalar(name, values[step], step)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_event_files_of_a_folder_and_alone(tmp_path):
    write_events(tmp_path, CURVES)
    log = RunLog.read(tmp_path)
    assert log.scalars == CURVES and log.step_name == "step"
    assert RunLog.read(log.files[0]) == log


def test_no_scalar_of_a_long_run_is_left_out(tmp_path):
    curve = {step: float(step) for step in range(10_100)}
    write_events(tmp_path, {"train/loss": curve}, max_queue=20_000)
    assert RunLog.read(tmp_path).scalars["train/loss"] == curve


def test_a_resumed_run_replaces_what_the_killed_one_did_after_its_last_checkpoint(tmp_path):
    killed = {
        "train/loss": {step: 1.0 for step in range(10, 100, 10)},
        "val/musiq": {30: 30.0, 60: 60.0, 90: 90.0},
        "hp_metric": {0: -1.0},
    }
    resumed = {
        "train/loss": {step: 2.0 for step in range(60, 100, 10)},
        "val/musiq": {75: 75.0},
        "hp_metric": {0: -1.0},
    }
    write_events(tmp_path, killed)
    write_events(tmp_path, resumed)
    scalars = RunLog.read(tmp_path).scalars
    assert scalars["val/musiq"] == {30: 30.0, 75: 75.0}
    assert scalars["train/loss"] == {step: 1.0 if step < 60 else 2.0 for step in range(10, 100, 10)}
    assert "hp_metric" not in scalars


def test_an_evaluation_in_the_run_folder_changes_nothing_that_training_logged(tmp_path):
    write_events(tmp_path, CURVES)
    write_events(tmp_path, {"val/musiq": {20: 99.0}, "test/musiq": {20: 1.0}})
    assert RunLog.read(tmp_path).scalars == CURVES | {"test/musiq": {20: 1.0}}


def test_two_writers_of_one_folder_do_not_erase_each_other(tmp_path):
    write_events(tmp_path, {"train/loss": CURVES["train/loss"]})
    write_events(tmp_path, {name: CURVES[name] for name in ("val/musiq", "val/niqe")})
    assert RunLog.read(tmp_path).scalars == CURVES


def test_a_torn_event_file_gives_what_is_whole_and_rubbish_is_refused(tmp_path):
    write_events(tmp_path, CURVES)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    scalars = RunLog.read(tmp_path).scalars
    assert scalars["train/loss"] == CURVES["train/loss"] and scalars["val/niqe"] == {20: 5.0}
    for content in (b"", b"rubbish" * 50):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"no curves \(scalars\) in this event file"):
            RunLog.read(file)


@pytest.mark.parametrize("kind", ["ours", "Lightning's"])
def test_metrics_csv_of_both_loggers(tmp_path, kind):
    logger = (
        MetricsCSVLogger(str(tmp_path))
        if kind == "ours"
        else CSVLogger(str(tmp_path), name="", version="")
    )
    for step in (10, 20, 30, 40):
        logger.log_metrics({"train/loss": CURVES["train/loss"][step], "epoch": 0}, step)
        if step % 20 == 0:
            logger.save()  # Lightning's own then has several rows for a step
            logger.log_metrics(
                {name: CURVES[name][step] for name in ("val/musiq", "val/niqe")}, step
            )
    logger.finalize("success")
    scalars = RunLog.read(tmp_path).scalars
    assert {name: values for name, values in scalars.items() if name != "epoch"} == CURVES


@pytest.mark.parametrize(
    "header", [["epoch", "step"], ["Global_Step", "epoch"], ["iteration"], ["Epoch"]]
)
def test_the_best_step_column_is_taken_and_told(tmp_path, header):
    path = write_csv(
        tmp_path / "log.csv",
        [
            [*header, "m"],
            *([7 if name in ("step", "Global_Step") else 3 for name in header] + [1.5],),
        ],
    )
    log = RunLog.read(path)
    expected = max(
        header, key=lambda name: ["epoch", "iteration", "global_step", "step"].index(name.lower())
    )
    assert log.step_name == expected
    assert log.scalars["m"] == {7 if "step" in expected.lower() else 3: 1.5}


def test_what_spreadsheets_and_scripts_do_to_a_csv(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "\ufeffstep, m ,note\n200.0,2,later\n100,1,first\n200,3,\n"
        ",9,no step\n300,nan,x\n400, ,x\n500\n",
        encoding="utf-8",
    )
    scalars = RunLog.read(path).scalars
    assert list(scalars) == ["m"] and list(scalars["m"]) == [100, 200, 300]
    assert scalars["m"][100] == 1 and scalars["m"][200] == 3 and math.isnan(scalars["m"][300])


def test_validations_are_the_steps_with_a_metric(tmp_path):
    write_events(tmp_path, CURVES | {"val/niqe": {40: 4.5}})
    log = RunLog.read(tmp_path)
    assert log.validations(["val/musiq", "val/niqe"], "train/loss") == [
        Validation(20, {"val/musiq": 50.0}, 1.5),
        Validation(40, {"val/musiq": 60.0, "val/niqe": 4.5}, 0.375),
    ]
    assert log.validations(["val/niqe"]) == [Validation(40, {"val/niqe": 4.5}, None)]


@pytest.mark.parametrize(("bad_step", "expected"), [(10, [40]), (40, [40]), (50, [40, 50])])
def test_a_loss_that_is_not_finite_is_never_averaged_away(tmp_path, bad_step, expected):
    write_events(
        tmp_path,
        {"train/loss": CURVES["train/loss"] | {bad_step: math.inf}, "val/musiq": {40: 60.0}},
    )
    history = RunLog.read(tmp_path).validations(["val/musiq"], "train/loss")
    assert [v.step for v in history] == expected
    assert [v.step for v in history if v.loss == math.inf] == [
        next(step for step in expected if step >= bad_step)
    ]
    assert all(v.values for v in history if v.step != 50)


def test_mistakes_are_one_clear_line(tmp_path):
    def message(path):
        with pytest.raises(ValueError) as error:
            RunLog.read(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)
        return str(error.value)

    assert "no such file or folder" in message(tmp_path / "nothing")
    assert "no column of steps" in message(write_csv(tmp_path / "a.csv", [["time", "m"], [1, 2]]))
    assert "no column of steps" in message(write_csv(tmp_path / "empty.csv", []))
    assert "no column of numbers" in message(
        write_csv(tmp_path / "b.csv", [["step", "m"], [1, "text"]])
    )
    assert "line 3" in message(write_csv(tmp_path / "c.csv", [["epoch", "m"], [1, 2], [1.5, 2]]))
    assert "line 2" in message(write_csv(tmp_path / "d.csv", [["step", "m"], ["one", 2]]))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    assert "neither an event file" in message(tmp_path / "picture.png")
    folder = tmp_path / "logs"
    write_events(folder / "version_0", CURVES)
    assert str(folder / "version_0") in message(folder)
    with pytest.raises(
        ValueError,
        match="no curve is called val/fid, val/x; there are train/loss, val/musiq, val/niqe$",
    ):
        RunLog.read(folder / "version_0").validations(["val/fid", "val/musiq", "val/x"])
