"""What `lsr fit` answers to a YAML file of an older version."""

import pytest
import yaml
from support.processes import ROOT

from lsr.cli import main

TINY = ROOT / "experiments" / "tiny" / "stage1.yaml"


def fitted(folder, capsys, old, new):
    """Fit the experiment with a part of its file replaced; return exit code and error message."""
    text = TINY.read_text()
    assert old in text
    path = folder / "old.yaml"
    path.write_text(text.replace(old, new))
    assert yaml.safe_load(path.read_text())
    settings = ["--trainer.default_root_dir", str(folder / "run"), "--trainer.max_steps", "1"]
    code = main(["fit", "--config", str(path), *settings])
    return code, capsys.readouterr().err


def test_a_class_that_has_moved_is_named_with_its_new_path(tmp_path, capsys):
    new = "lsr.runs.csv_logger.MetricsCSVLogger"
    code, error = fitted(tmp_path, capsys, new, "lsr.metrics_csv.MetricsCSVLogger")
    assert code == 2 and len(error.splitlines()) == 1 and len(error) < 200
    assert "lsr.metrics_csv.MetricsCSVLogger" in error and new in error


@pytest.mark.parametrize("setting", ["action: skip", "threshold: 8.0", "max_skips: 3"])
def test_a_setting_of_the_guard_at_the_knee_is_sent_to_the_guard(tmp_path, capsys, setting):
    code, error = fitted(tmp_path, capsys, "stop: true", setting)
    assert code == 2 and len(error.splitlines()) == 1
    assert setting.split(":")[0] in error and "belongs to callbacks.DivergenceGuard" in error


def test_a_class_that_never_existed_has_no_new_path(tmp_path, capsys):
    code, error = fitted(tmp_path, capsys, "callbacks.EMA", "callbacks.Average")
    assert code == 2 and error.rstrip().endswith("module 'callbacks' has no attribute 'Average'")
