"""A stage through `lsr fit`, killed where a file is about to appear, ends like an unbroken run."""

import subprocess
import sys

import pytest
from support.processes import SUPPORT, environment

MOMENTS = {
    "small_stage1.py": (
        "images/step-0000008.png",
        "checkpoints/last.ckpt+metrics.csv",  # the checkpoint is there, the row of its step is not
        "knee/provisional.json+checkpoints/last.ckpt",  # the checkpoint knows no provisional knee
        "stage1/knee",
    ),
    "small_stage3.py": ("checkpoints/last.ckpt+metrics.csv", "stage3/knee"),
}
"""See `killed_runs.py`, with which more moments were tried by hand."""


@pytest.mark.parametrize("script", MOMENTS)
def test_a_killed_run_continues_to_the_same_knee_rows_and_weights(script, tmp_path):
    command = [sys.executable, SUPPORT / "killed_runs.py", SUPPORT / script, tmp_path]
    done = subprocess.run(
        [*map(str, command), "--before", *MOMENTS[script]],
        env=environment(HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(MOMENTS[script])} kills" in done.stdout and "all ended alike" in done.stdout
