"""Ranks that torchrun starts form one run or are refused; a folder holds one run at a time."""

import json
import subprocess
import sys

import pytest
import torch
from support.patience import PATIENCE_S, wait_until
from support.ports import free_port
from support.processes import ROOT, SUPPORT, TINY_STAGE1, environment
from support.small_run import SMALL, run

from lsr.cli import main
from lsr.training.launcher import devices_of_torchrun
from lsr.training.run_lock import LOCK

NO_NIQE = {
    "model.val_metrics": "[psnr_y]",
    "model.niqe_parameters": "null",
    "trainer.callbacks.KneePointCallback.metrics": "{val/psnr_y: max}",
}


def fit(folder, **options):
    settings = SMALL | NO_NIQE | {"trainer.default_root_dir": folder} | options
    flat = [str(part) for key, value in settings.items() for part in (f"--{key}", value)]
    return ["fit", "--config", str(TINY_STAGE1), "--ckpt_path", "last", *flat]


def torchrun(*program):
    port = str(free_port())
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, "--master-port", port, *map(str, program)],
        cwd=ROOT,
        env=environment(HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_processes_of_torchrun_are_the_ranks_of_one_run(tmp_path, capsys):
    """One process continues what two have begun with the same global batch only."""
    done = torchrun("-m", "lsr", *fit(tmp_path, **{"trainer.max_steps": 3}))
    assert done.returncode == 0, done.stderr
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3
    assert checkpoint["RealESRGANDataModule"]["samples_seen"] == 3 * 2 * 2
    assert not (tmp_path / LOCK).exists() and not (tmp_path / "config-1.yaml").exists()
    assert main(fit(tmp_path, **{"trainer.max_steps": 4})) == 2
    error = capsys.readouterr().err
    assert "global_batch 2 (was 4, kept by --data.init_args.batch_size 4)" in error
    same = {"data.init_args.batch_size": 4, "trainer.max_steps": 4}
    assert main(fit(tmp_path, **same)) == 0


def test_settings_by_which_they_would_be_two_runs_are_refused(tmp_path):
    done = torchrun("-m", "lsr", *fit(tmp_path, **{"trainer.devices": 1}))
    assert done.returncode != 0 and not list(tmp_path.iterdir())
    assert "2 processes were started, but --trainer.devices 1" in done.stderr


def test_ranks_that_start_differently_stop_together_before_the_first_batch(tmp_path):
    done = torchrun(SUPPORT / "different_starts.py", tmp_path)
    assert done.returncode == 0, done.stderr
    for rank in "01":
        results = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert results.pop("the same weights") == [0, []]
        for what, (code, lines) in results.items():
            assert code == 2 and len(lines) == 1, (what, lines)
            assert "the ranks do not start from the same" in lines[0], what
        assert "model.safetensors with digest" in results["other weights"][1][0]
        assert "seed.safetensors with digest" in results["other knees"][1][0]
        assert "last.ckpt" in results["a checkpoint on one rank"][1][0]
        assert "step 0 with weights" in results["weights changed on one rank"][1][0]


def test_settings_of_the_user_are_kept(monkeypatch):
    assert devices_of_torchrun({"devices": "auto", "num_nodes": 1}) == {}
    for name, value in {"RUN_ID": "x"}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert devices_of_torchrun({"devices": "auto", "num_nodes": 1}) == {
        "devices": 4,
        "num_nodes": 2,
    }
    assert devices_of_torchrun({"devices": 2, "num_nodes": 4}) == {}


def test_a_second_run_is_kept_out_of_the_folder_until_the_first_is_dead(tmp_path, capsys):
    first = run(fit(tmp_path, **{"trainer.max_steps": 100_000}), stderr=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "checkpoints" / "last.ckpt").is_file, first)
        assert main(fit(tmp_path, **{"trainer.max_steps": 1})) == 2
    finally:
        first.kill()
        first.wait()
    error = capsys.readouterr().err
    assert f"process {first.pid} on" in error and "is training here" in error
    step = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert main(fit(tmp_path, **{"trainer.max_steps": step})) == 0


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
