"""Kills a script again and again: `killed_runs.py SCRIPT FOLDER [--random N] [--before FILE...]`.

The script trains in a folder below `runs` of its working folder with `ckpt_path="last"`. A run is
started again until it ends, and its end is compared with that of a run that nobody killed. With
`--random` it is killed at random times. With `--before` each launch is killed, together with its
data workers, when it is about to rename a file to a path that ends with FILE; and for `A+B`, the
first time after that has happened for A.
"""

import argparse
import csv
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning  # noqa: F401 (imported once, not by every forked process)
import torch

import callbacks  # noqa: F401
import datamodules  # noqa: F401
import lsr.training.cli  # noqa: F401
from lsr.knee.folder import read_manifest
from lsr.knee.provisional import FILE, is_published, read_provisional
from support.patience import PATIENCE_S

Hook = Callable[[str, str], None]

LAST = Path("checkpoints") / "last.ckpt"


def start(code: str, folder: Path, hook: Hook | None = None) -> int:
    """Return the id of a new process, and of its group, that executes the code in a folder.

    Args:
        code: The code.
        folder: The working folder.
        hook: Is called before the process renames a file, with the old and the new path.
    """
    process = os.fork()
    if process:
        return process
    os.setpgid(0, 0)
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    with open("output.txt", "a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    if hook is not None:
        sys.addaudithook(partial(on_rename, os.getpid(), hook))
    status = 1
    try:
        exec(compile(code, "example", "exec"), {"__name__": "__main__"})
        status = 0
    finally:
        sys.stdout.flush()
        if status:
            sys.excepthook(*sys.exc_info())
        os._exit(status)


def on_rename(process: int, hook: Hook, event: str, arguments: tuple) -> None:
    """Call the hook if the event is that a file is renamed by this process, not by its workers."""
    if event == "os.rename" and os.getpid() == process:
        hook(str(arguments[0]), str(arguments[1]))


class Killer:
    """Kills this process and its group before it renames certain files.

    Args:
        names: Ends of the paths, joined by "+", in the order in which they have to be met.
    """

    def __init__(self, names: str) -> None:
        self.names = names.split("+")

    def __call__(self, source: str, target: str) -> None:
        if target.endswith(self.names[0]):
            del self.names[0]
            if not self.names:
                os.killpg(0, signal.SIGKILL)


def record(source: str, target: str) -> None:
    """Copy each provisional knee that is about to appear to a line of `provisional.jsonl`."""
    if target.endswith(FILE):
        with open("provisional.jsonl", "a") as lines:
            lines.write(json.dumps(json.loads(Path(source).read_text())) + "\n")


def ends(process: int, seconds: float = PATIENCE_S) -> bool:
    """Kill a process and its group after some time; return whether it ended before, unkilled."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status):
                return False
            assert status == 0, "the script failed: see output.txt"
            return True
        time.sleep(0.002)
    assert seconds < PATIENCE_S, "the script hangs: see output.txt"
    if os.getpgid(process) == process:
        os.killpg(process, signal.SIGKILL)
    else:  # so early that it has no group of its own yet
        os.kill(process, signal.SIGKILL)
    return os.WIFEXITED(os.waitpid(process, 0)[1])


def run_folder(folder: Path) -> Path:
    (found,) = (folder / "runs").iterdir()
    return found


def end_of(folder: Path) -> dict:
    """Return what must be equal bit for bit."""
    run = run_folder(folder)
    checkpoint = torch.load(run / LAST, weights_only=True)
    state = checkpoint["callbacks"]["KneePointCallback"]
    manifest = read_manifest(run / "knee")
    assert state.pop("run") == manifest.pop("run")
    del state["root"]
    wanted = (
        "state_dict",
        "ema_state_dict",
        "optimizer_states",
        "student_run",
        "global_step",
        "epoch",
        "loops",
    )
    found = {name: checkpoint[name] for name in wanted if name in checkpoint}
    return found | {
        "state": state,
        "manifest": manifest,
        "rows": rows(run / "metrics.csv"),
        "files": sorted(str(path.relative_to(run)) for path in run.rglob("*/*.[jps]*")),
    }


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of `metrics.csv`, without measured times; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    return [
        {name: cell for name, cell in row.items() if not name.startswith("throughput")}
        for row in found
    ]


def equal(one: object, two: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def check(folder: Path, whole: dict) -> None:
    """Check the end of a run that was killed, against that of a run that nobody killed."""
    found = end_of(folder)
    different = [name for name in whole if not equal(found[name], whole[name])]
    assert not different, f"{folder}: other {different} than the run that nobody killed"
    left = [path for path in folder.rglob(".*") if path.name.startswith(".knee-")]
    left += folder.rglob(".*.tmp")
    assert not left, f"{folder}: temporary files were left: {left}"


def provisional_knees(folder: Path) -> dict[int, dict | None]:
    """Return the provisional knee after each validation of a run that `record` has watched.

    The last one stays until the final knee takes its place.
    """
    lines = (folder / "provisional.jsonl").read_text().splitlines()
    told = {found["judged_at_step"]: found for found in map(json.loads, lines)}
    confirmed = read_manifest(run_folder(folder) / "knee")["confirmed_at_step"]
    knee = None
    knees: dict[int, dict | None] = {0: None}
    for step in validated_steps(run_folder(folder)):
        knee = told.get(step) if step < confirmed else knee
        knees[step] = knee
    return knees


def validated_steps(run: Path) -> list[int]:
    """Return the steps of the validations that the last checkpoint of a run knows."""
    if not (run / LAST).exists():
        return []
    state = torch.load(run / LAST, weights_only=True)["callbacks"]["KneePointCallback"]
    return [each["step"] for each in state["history"]]


class Knees:
    """Checks the knees of a run after each kill. What was published stays published.

    Args:
        provisional: The provisional knee after each validation of the run that nobody killed.
    """

    def __init__(self, provisional: dict[int, dict | None]) -> None:
        self.provisional = provisional
        self.manifest: dict | None = None

    def check(self, folder: Path) -> None:
        for run in folder.glob("runs/*"):
            if is_published(run / "knee"):
                found = read_manifest(run / "knee")
                assert self.manifest in (None, found), f"{run}: the knee has changed"
                assert read_provisional(run / "knee") is None, f"{run}: it is not the only one"
                self.manifest = found
            else:
                assert self.manifest is None, f"{run}: the knee is gone"
                self.check_provisional(run)

    def check_provisional(self, run: Path) -> None:
        """Check that it is that of the last checkpoint or of the validation after it.

        While the final knee takes its place, there is none for a moment.
        """
        last = max(validated_steps(run), default=0)
        near = [step for step in self.provisional if step >= last][:2]
        right = [self.provisional[step] for step in near]
        if last == max(self.provisional):
            right.append(None)
        found = read_provisional(run / "knee")
        assert found in right, f"{run}: {found} after the checkpoint of step {last}"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("script", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--before", nargs="*", default=[])
    options = parser.parse_args(arguments)
    code = options.script.read_text()
    torch.set_num_threads(1)
    began = time.monotonic()
    assert ends(start(code, options.folder / "whole", record))
    duration = time.monotonic() - began
    whole = end_of(options.folder / "whole")
    provisional = provisional_knees(options.folder / "whole")
    draw = random.Random(0)
    killed = runs = 0
    while killed < options.random:
        runs += 1
        run = options.folder / str(runs)
        knees = Knees(provisional)
        while not ends(start(code, run), draw.uniform(0, duration)):
            killed += 1
            knees.check(run)
        knees.check(run)
        check(run, whole)
    if options.before:
        runs += 1
        run = options.folder / "before"
        knees = Knees(provisional)
        for name in options.before:
            launch = start(code, run, Killer(name))
            assert not ends(launch), f"the run ended without renaming {name}"
            killed += 1
            knees.check(run)
        assert ends(start(code, run))
        knees.check(run)
        check(run, whole)
    print(f"{killed} kills in {runs} runs of {duration:.1f} s: all ended alike")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
