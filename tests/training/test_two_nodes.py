"""Several machines, told by torchrun, train as one machine with as many devices does."""

import csv
import subprocess
import sys

import numpy as np
import torch
from PIL import Image
from support.knee_folder import publish_knee
from support.patience import PATIENCE_S
from support.ports import free_port
from support.processes import SUPPORT, environment


def launch(nodes, *arguments):
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes",
        nodes,
        "--nproc-per-node",
        2 // nodes,
    ]
    command += ["--master-addr", "127.0.0.1", "--master-port", port, "--node-rank"]
    script = [SUPPORT / "two_stages_run.py", *arguments, nodes]
    processes = [
        subprocess.Popen(
            [str(part) for part in (*command, rank, *script)],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(nodes)
    ]
    for process in processes:
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err


def test_two_nodes_train_as_one_with_two_processes(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48)).save(
            tmp_path / f"{i}.png"
        )
    knee = publish_knee(tmp_path)
    for nodes in (1, 2):
        launch(nodes, tmp_path / str(nodes), tmp_path, knee)
    for stage in ("stage1", "stage2"):
        one, two = (
            list(csv.DictReader((tmp_path / nodes / stage / "metrics.csv").open()))
            for nodes in "12"
        )
        assert [row["step"] for row in one] == [str(step) for step in range(1, 21)]
        assert len({row["train/loss"] for row in one}) == 20
        assert one == two
        weights = (
            torch.load(tmp_path / nodes / stage / "checkpoints/last.ckpt", weights_only=True)[
                "state_dict"
            ]
            for nodes in "12"
        )
        a, b = weights
        assert all(torch.equal(weight, b[name]) for name, weight in a.items())
