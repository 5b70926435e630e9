"""NaN on one of two ranks ends both (CPU, gloo)."""

import json
import subprocess
import sys

import pytest
import torch
from support.patience import PATIENCE_S
from support.ports import free_port
from support.processes import SUPPORT, environment

RUNS = (
    "loss-DivergenceGuard",
    "gradient-DivergenceGuard",
    "weight-DivergenceGuard",
    "weight-ChecksWeights",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, str(SUPPORT / "guard_ranks.py"), str(folder)],
            env=environment(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                NODE_RANK="0",
                WORLD_SIZE="2",
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [3, 3], outputs
    return folder


@pytest.mark.parametrize("run", RUNS)
def test_nan_on_one_rank_ends_both_within_one_step_with_one_report(runs, run):
    folder = runs / run
    seen = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert seen[0] == seen[1] and seen[0]["step"] == 5 and "diverged at step 5" in seen[0]["ended"]
    reason = "weights are not finite" if run == "weight-ChecksWeights" else "norm is inf"
    report = json.loads((folder / "divergence.json").read_text())
    assert report["step"] == 5 and reason in report["reason"]
    bad = "net.2.bias" if run.startswith("gradient") else "net.0.weight"
    assert (
        report["non_finite_gradients" if "weight-" not in run else "non_finite_weights"][0] == bad
    )
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    assert all(weight.isfinite().all() for weight in checkpoint["state_dict"].values())


def test_the_report_has_the_samples_and_the_loss_of_each_rank(runs):
    samples = json.loads((runs / RUNS[0] / "divergence.json").read_text())["samples"]
    assert isinstance(samples[0]["loss"], float) and samples[1]["loss"] == "nan"
    names = [rank["batches"][0]["path"] for rank in samples]
    assert len(set(names[0] + names[1])) == 4
