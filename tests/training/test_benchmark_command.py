"""`python -m callbacks.bench` and `python -m datamodules.bench`: their command line and table."""

import runpy

import pytest
import yaml
from support.processes import ROOT
from support.small_run import smallest_stage1

from callbacks import progress

BENCHMARKS = ("callbacks.bench", "datamodules.bench")


@pytest.fixture
def run(monkeypatch, capfd):
    """Return a function that runs a benchmark; it returns exit code, stdout and stderr."""

    def run(module, *arguments):
        monkeypatch.setattr("sys.argv", [module, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_module(module, run_name="__main__")
        return end.value.code, *capfd.readouterr()

    return run


@pytest.mark.parametrize("module", BENCHMARKS)
def test_what_is_no_experiment_is_refused_in_one_line(run, module):
    for path in ("nowhere.yaml", ROOT / "README.md"):
        code, out, err = run(module, path)
        assert code == 2 and not out
        assert err.startswith(f"python -m {module}: {path}: ") and err.count("\n") == 1
    code, out, _ = run(module, "--help")
    assert code == 0 and "EXPERIMENT.yaml" in out


def test_a_table_of_the_callbacks_of_the_experiment_without_advice(run, tmp_path, monkeypatch):
    config = smallest_stage1()
    config["trainer"]["logger"] = False
    config["trainer"]["callbacks"] = [
        {"class_path": "callbacks.DivergenceGuard"},
        {"class_path": "callbacks.TrainingProgress", "init_args": {"validation_share": 0.0}},
    ]
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    code, out, err = run("callbacks.bench", tmp_path / "experiment.yaml")
    assert code == 0
    assert [line.split(" | ")[0] for line in out.splitlines()[2:]] == ["| guard, per step"]
    assert "step 120" in err and "validation has taken" not in err
