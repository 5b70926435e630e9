"""Two ranks decide, publish and stop together (CPU, gloo)."""

import json
import os
import subprocess
import sys

import torch
from support.patience import PATIENCE_S
from support.processes import SUPPORT, environment

from lsr.knee.folder import read_manifest


def run(folder, scenario, timeout=PATIENCE_S):
    command = [sys.executable, str(SUPPORT / "knee_ranks.py"), str(folder), scenario]
    process = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise
    return process.returncode, out


def seen(folder):
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def test_ranks_with_different_metrics_stop_at_the_same_step_with_one_seed(tmp_path):
    code, out = run(tmp_path, "differ")
    assert code == 0, out
    one, two = seen(tmp_path)
    assert one.pop("judged") > 0 and two.pop("judged") == 0, "rank 0 alone judges"
    assert one == two and one["knee"] is not None
    assert read_manifest(tmp_path / "knee")["step"] == one["knee"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "knee",
        "checkpoints",
        "rank0.json",
        "rank1.json",
    }


def test_nan_on_one_rank_ends_both_and_every_checkpoint_is_finite(tmp_path):
    code, out = run(tmp_path, "nan")
    assert code == 3, out
    one, two = seen(tmp_path)
    assert (
        one["code"] == two["code"] == 3
        and one["step"] == two["step"] == 5
        and one["finite"]
        and two["finite"]
    )
    assert json.loads((tmp_path / "divergence.json").read_text())["step"] == 5
    checkpoints = sorted((tmp_path / "checkpoints").glob("*.ckpt"))
    assert len(checkpoints) == 5
    for path in checkpoints:
        assert all(
            weight.isfinite().all()
            for weight in torch.load(path, weights_only=True)["state_dict"].values()
        )


def test_a_rank_killed_at_the_moment_of_publishing_leaves_no_half_seed(tmp_path):
    code, _ = run(tmp_path, "kill")
    assert code != 0
    if (tmp_path / "knee" / "knee.json").exists():
        assert read_manifest(tmp_path / "knee")["step"] > 0
    # torchrun may have killed rank 0 in the hidden folder that it was building.
    left = [path for path in tmp_path.glob("**/*.tmp") if not path.parent.name.startswith(".knee-")]
    assert left == []
