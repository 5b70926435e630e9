"""Stage 3 on two ranks."""

import subprocess
import sys

import torch
from support.knee_folder import publish_knee
from support.patience import PATIENCE_S
from support.processes import SUPPORT, environment
from support.student_run import Stage3, train

STEPS = 4


def test_two_ranks_have_the_same_weights_and_those_of_one_rank_with_the_same_batch(tmp_path):
    knee = str(publish_knee(tmp_path))
    command = [sys.executable, str(SUPPORT / "student_run.py"), str(tmp_path), knee, str(STEPS)]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    alone = Stage3(knee)
    train(tmp_path / "alone", alone, STEPS)
    for name, weight in alone.named_parameters():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        # A step moves a weight by about 1e-3.
        torch.testing.assert_close(ranks[0][name], weight.detach(), rtol=0, atol=5e-6, msg=name)
