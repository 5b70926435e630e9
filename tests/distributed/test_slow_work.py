"""Work of one rank for the others ends no run, however long it takes and whenever they come."""

import json
import subprocess
import sys

from support.patience import PATIENCE_S
from support.ports import free_port
from support.processes import SUPPORT, environment


def test_every_machine_may_embed_texts_for_longer_than_collectives_wait(tmp_path):
    port = str(free_port())
    launched = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SUPPORT / "slow_work.py"), str(tmp_path)],
            env=environment(
                RANK=str(rank),
                GROUP_RANK=str(rank),
                MASTER_PORT=port,
                TORCHELASTIC_RUN_ID="x",
                **launched,
            ),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
    seen = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert seen == [{"embedded": 1, "ranks": 2}] * 2
    assert (tmp_path / "niqe.mat").read_text() == "fitted"
