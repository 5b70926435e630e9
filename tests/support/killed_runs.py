"""Kills a script at random moments: `python killed_runs.py SCRIPT FOLDER KILLS`.

The script trains in `runs/textures` of its working folder with `ckpt_path="last"`. A run is started
again until it ends, and its end is compared with that of a run that nobody killed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import lightning  # noqa: F401 (imported once, not by every forked process)
import torch

import callbacks  # noqa: F401
from lsr.knee.folder import read_manifest

RUN = Path("runs/textures")


def start(code: str, folder: Path) -> int:
    """Return the id of a new process that executes the code in a folder."""
    process = os.fork()
    if process:
        return process
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    with open("output.txt", "a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    status = 1
    try:
        exec(compile(code, "example", "exec"), {"__name__": "__main__"})
        status = 0
    finally:
        sys.stdout.flush()
        if status:
            sys.excepthook(*sys.exc_info())
        os._exit(status)


def ends(process: int, seconds: float) -> bool:
    """Kill a process after some time; return whether it ended before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (done := os.waitpid(process, os.WNOHANG))[0]:
            assert done[1] == 0, "the script failed: see output.txt"
            return True
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    return os.WIFEXITED(os.waitpid(process, 0)[1])


def end_of(folder: Path) -> dict:
    """Return what must be equal bit for bit."""
    checkpoint = torch.load(folder / RUN / "checkpoints" / "last.ckpt", weights_only=True)
    state = checkpoint["callbacks"]["KneePointCallback"]
    del state["root"]
    wanted = ("state_dict", "optimizer_states", "global_step", "epoch")
    found = {name: checkpoint[name] for name in wanted}
    return found | {"state": state, "manifest": read_manifest(folder / RUN / "knee")}


def equal(one: object, two: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def main(script: Path, folder: Path, kills: int) -> None:
    code = script.read_text()
    torch.set_num_threads(1)
    began = time.monotonic()
    assert ends(start(code, folder / "whole"), 600)
    duration = time.monotonic() - began
    whole = end_of(folder / "whole")
    draw = random.Random(0)
    killed = runs = 0
    while killed < kills:
        runs += 1
        run = folder / str(runs)
        published = None
        while not ends(start(code, run), draw.uniform(0, duration)):
            killed += 1
            if (run / RUN / "knee" / "knee.json").exists():
                found = read_manifest(run / RUN / "knee")
                assert published in (None, found), "what was published stays published"
                published = found
        assert equal(end_of(run), whole), f"{run}: not the run that nobody killed"
        assert not list(run.rglob(".*.tmp")) and not list(run.rglob(".knee-*"))
    print(f"{killed} kills in {runs} runs of {duration:.1f} s: all ended alike")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]), int(sys.argv[3]))
