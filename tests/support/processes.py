"""Paths of the repository, and the environment of scripts that tests start as processes."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parent
TINY_STAGE1 = ROOT / "experiments" / "tiny" / "stage1.yaml"


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a script that imports the project and `support`, on one thread."""
    path = os.pathsep.join(map(str, [ROOT, ROOT / "tests"]))
    # Lightning leaves the port of a process group here, and another program may have it by now.
    own = {name: os.environ[name] for name in os.environ if not name.startswith("MASTER_")}
    return own | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | more
