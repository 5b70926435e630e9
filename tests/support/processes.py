"""Paths of the repository, and the environment of scripts that tests start as processes."""

import os
from pathlib import Path

from support.ports import free_port

ROOT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parent
TINY_STAGE1 = ROOT / "experiments" / "tiny" / "stage1.yaml"

_OF_PROCESS_GROUPS = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK", "RANK")
"""What Lightning leaves in the environment of this process after a run of several ranks."""


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a script that imports the project and `support`, on one thread.

    Ranks that Lightning starts meet at the port that it names. Lightning itself would choose one
    that another test may get before the ranks listen there, or between two runs of the script.
    """
    path = os.pathsep.join(map(str, [ROOT, ROOT / "tests"]))
    own = {name: value for name, value in os.environ.items() if name not in _OF_PROCESS_GROUPS}
    port = str(free_port())
    return own | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MASTER_PORT": port} | more
