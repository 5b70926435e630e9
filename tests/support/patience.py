"""Waiting for what another process or thread does, however slow the machine is."""

import subprocess
import time
from collections.abc import Callable

PATIENCE_S = 1200.0
"""Seconds after which a test gives up. No test that passes waits so long, on a busy machine either:
what does not happen within them never happens."""


def wait_until(holds: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Return when a condition holds.

    Args:
        holds: The condition.
        process: Process that makes it hold; if it ends before, the test fails.
    """
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert process is None or process.poll() is None, "the process has ended too early"
        assert time.monotonic() < end, f"nothing has happened for {PATIENCE_S:.0f} s"
        time.sleep(0.01)
