"""`python -m callbacks.bench` and `python -m datamodules.bench`: their command line and table."""

import runpy

import pytest
import yaml
from support.processes import ROOT
from support.small_run import smallest_stage1

from callbacks import DivergenceGuard, progress

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


@pytest.mark.parametrize("module", BENCHMARKS)
def test_ctrl_c_ends_a_benchmark_with_130_and_one_line(run, module, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(DivergenceGuard, "on_before_optimizer_step", interrupt)
    experiment = tmp_path / "experiment.yaml"
    config = smallest_stage1()
    config["trainer"]["callbacks"] = [{"class_path": "callbacks.DivergenceGuard"}]
    experiment.write_text(yaml.safe_dump(config))
    code, _, err = run(module, experiment)
    assert code == 130
    assert err.endswith(f"python -m {module}: interrupted\n") and "Traceback" not in err


def test_a_table_of_the_callbacks_of_the_experiment_without_advice(tmp_path, monkeypatch, capfd):
    from callbacks import bench

    config = smallest_stage1()
    config["trainer"]["logger"] = False
    config["trainer"]["callbacks"] = [
        {"class_path": "callbacks.AttentionHealth"},
        {"class_path": "callbacks.DivergenceGuard"},
        {"class_path": "callbacks.TrainingProgress", "init_args": {"validation_share": 0.0}},
    ]
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(bench, "_STEPS", 30)
    monkeypatch.setattr(bench, "_COMPARED_STEPS", 40)
    steps = []
    measure = DivergenceGuard.on_before_optimizer_step
    monkeypatch.setattr(
        DivergenceGuard,
        "on_before_optimizer_step",
        lambda guard, trainer, *rest: (
            steps.append(trainer.max_steps),
            measure(guard, trainer, *rest),
        )[1],
    )
    assert bench.main(str(tmp_path / "experiment.yaml")) == 0
    out, err = capfd.readouterr()
    first, last = (line.split(" | ") for line in out.splitlines()[2:])
    assert first[0] == "| health, per validation" and last[0] == "| guard, per step"
    assert "±" in last[1] and "±" in last[4] and "±" not in first[1]
    assert steps.count(30) == 30 and 10 < steps.count(40) < 30, "half of the steps have no guard"
    assert "step 30" in err and "validation has taken" not in err
