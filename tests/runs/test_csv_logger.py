import csv

from lsr.runs.csv_logger import MetricsCSVLogger


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_per_step_and_columns_that_come_later(tmp_path):
    logger = MetricsCSVLogger(str(tmp_path))
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, 10)
    logger.save()
    logger.log_metrics({"val/psnr_y": 20.0}, 10)
    logger.log_metrics({"train/loss": 0.5}, 20)
    logger.finalize("success")
    assert rows(tmp_path) == [
        {"step": "10", "train/loss": "1.0", "val/psnr_y": "20.0"},
        {"step": "20", "train/loss": "0.5", "val/psnr_y": ""},
    ]


def test_a_resumed_run_keeps_the_past_and_replaces_what_it_repeats(tmp_path):
    killed = MetricsCSVLogger(str(tmp_path))
    for step in (10, 20, 30):
        killed.log_metrics({"train/loss": float(step)}, step)
    killed.save()
    resumed = MetricsCSVLogger(str(tmp_path))
    resumed.log_metrics({"train/loss": -20.0}, 20)
    resumed.save()
    assert [(row["step"], row["train/loss"]) for row in rows(tmp_path)] == [
        ("10", "10.0"),
        ("20", "-20.0"),
    ]


def test_the_file_is_written_again_only_for_something_new(tmp_path):
    logger = MetricsCSVLogger(str(tmp_path))
    logger.log_metrics({"train/loss": 1.0}, 10)
    logger.save()
    path = tmp_path / "metrics.csv"
    before = path.stat().st_ino
    logger.after_save_checkpoint(None)
    assert path.stat().st_ino == before
    logger.log_metrics({"train/loss": 2.0}, 20)
    logger.finalize("success")
    assert [row["step"] for row in rows(tmp_path)] == ["10", "20"]
