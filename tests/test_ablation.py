import csv
from pathlib import Path

import pytest
import yaml

from lsr.ablation import main

TINY = Path(__file__).parent.parent / "experiments" / "tiny" / "stage1.yaml"


def experiment(path, width):
    config = yaml.safe_load(TINY.read_text())
    config["model"]["denoiser"] |= {"width": width, "depth": 1, "stem_width": 8}
    config["model"] |= {"val_metrics": ["psnr_y"], "niqe_parameters": None}
    config["data"]["init_args"] |= {"crop_size": 16, "val_crop_size": 32, "batch_size": 2, "num_workers": 0}
    config["trainer"] |= {"max_steps": 2, "val_check_interval": 2, "logger": False, "num_sanity_val_steps": 0}
    kept = ("EMA", "LastCheckpoint")
    config["trainer"]["callbacks"] = [each for each in config["trainer"]["callbacks"] if each["class_path"].endswith(kept)]
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(config))


def test_every_experiment_is_trained_for_every_seed_and_judged_alike(tmp_path, capsys):
    experiment(tmp_path / "files" / "narrow.yaml", 32)
    experiment(tmp_path / "files" / "wide.yaml", 64)
    arguments = [tmp_path / "files", "--out", tmp_path / "out", "--seeds", "1", "2", "--steps", "1", "3", "--metrics", "psnr_y"]
    assert main([str(part) for part in arguments]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| narrow", "| wide"] and "psnr_y, 3 steps" in lines[0]
    runs = list(csv.DictReader((tmp_path / "out" / "runs.csv").open()))
    assert [run["model"] for run in runs] == ["narrow", "wide", "narrow", "wide"]
    assert len({run["loss, t 0.223-0.875"] for run in runs}) == 4 and float(runs[1]["active, M"]) > float(runs[0]["active, M"])
    checkpoint = tmp_path / "out" / "wide" / "seed2" / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes()
    reference = ["--reference", tmp_path / "files" / "wide.yaml", checkpoint]
    assert main([str(part) for part in (*arguments, *reference)]) == 0
    again = list(csv.DictReader((tmp_path / "out" / "runs.csv").open()))
    assert checkpoint.read_bytes() == before, "what was trained is not trained again"
    timed = "ms per image, 5 steps"
    assert again[0].pop("model") == "reference"
    assert {key: value for key, value in again[0].items() if key != timed} == {
        key: value for key, value in runs[3].items() if key not in ("model", timed)
    }


def test_a_folder_without_experiments_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no experiments in this folder"):
        main([str(tmp_path), "--out", str(tmp_path / "out")])


def test_a_missing_reference_is_told_before_anything_is_trained(tmp_path):
    experiment(tmp_path / "files" / "narrow.yaml", 32)
    arguments = [tmp_path / "files", "--out", tmp_path / "out", "--reference", tmp_path / "files" / "narrow.yaml", tmp_path / "knee"]
    with pytest.raises(ValueError, match="knee: no such reference"):
        main([str(part) for part in arguments])
    assert not (tmp_path / "out").exists()
