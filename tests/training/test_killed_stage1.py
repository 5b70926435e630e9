"""Stage 1 through `lsr fit`, killed where a file is about to appear, ends like an unbroken run."""

import subprocess
import sys

from support.processes import SUPPORT, environment

MOMENTS = (
    "images/step-0000008.png",
    "checkpoints/last.ckpt+metrics.csv",  # the checkpoint is there, the row of its step is not
    "knee/provisional.json+checkpoints/last.ckpt",  # the checkpoint knows no provisional knee
    "stage1/knee",
)
"""See `killed_runs.py`, with which more moments were tried by hand."""


def test_a_killed_run_continues_to_the_same_knee_rows_and_weights(tmp_path):
    script = SUPPORT / "small_stage1.py"
    command = [sys.executable, str(SUPPORT / "killed_runs.py"), str(script), str(tmp_path)]
    done = subprocess.run(
        [*command, "--before", *MOMENTS],
        env=environment(HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(MOMENTS)} kills" in done.stdout and "all ended alike" in done.stdout
