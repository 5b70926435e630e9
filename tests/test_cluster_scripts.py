"""The scripts of `experiments/cluster` start the run that they were told to start."""

import os
import subprocess

import pytest
from support.processes import ROOT


@pytest.mark.parametrize(
    "script", sorted((ROOT / "experiments" / "cluster").glob("*.s*")), ids=lambda path: path.name
)
def test_scripts_for_clusters_are_bash(script):
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_torchrun_starts_the_run_with_what_it_was_told(tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "lsr"):
        (tmp_path / ".venv" / "bin" / name).write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
        (tmp_path / ".venv" / "bin" / name).chmod(0o755)
    (tmp_path / "srun").write_text('#!/bin/bash\nexec "$@"\n')
    (tmp_path / "srun").chmod(0o755)

    def told(script, **variables):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | variables
        command = ["bash", str(ROOT / "experiments" / "cluster" / script), "a.yaml", "--x", "1"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stderr
        return " ".join(done.stdout.split())

    words = told("torchrun.sh", NODES="2", NODE_RANK="1", MASTER_ADDR="10.0.0.1", DEVICES="4")
    assert "--nnodes 2 --node-rank 1 --nproc-per-node 4 --master-addr 10.0.0.1" in words
    assert words.endswith(
        "-m lsr fit --config a.yaml --ckpt_path last "
        "--trainer.num_nodes 2 --trainer.devices 4 --x 1"
    )
    slurm = {"SLURM_JOB_NUM_NODES": "3", "SLURM_NTASKS_PER_NODE": "8"}
    run = "fit --config a.yaml --ckpt_path last --trainer.num_nodes 3 --trainer.devices 8"
    assert told("stage.sbatch", **slurm) == f"{run} --x 1"
    alone = "--model.experts.expert 2 --trainer.default_root_dir runs/linearsr/expert2"
    assert told("stage.sbatch", SLURM_ARRAY_TASK_ID="2", **slurm) == f"{run} {alone} --x 1"
