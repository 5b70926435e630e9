"""Read mutated files in a child process, and find what must not happen to it.

A fault is a traceback, ten seconds without an answer, the death of the process, a gibibyte of
memory for one file, or a file that is written elsewhere than in the folder for results.
"""

import contextlib
import io
import multiprocessing
import os
import resource
import shutil
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil

from fuzz.mutations import mutated
from fuzz.targets import Target, targets

LONGEST_S = 10.0
_LONGEST_WALL_S = 900.0
MOST_BYTES = 2**30
_MADE_ANEW = 500
"""Files after which the process is replaced, so that its peak of memory says something again."""


@dataclass(frozen=True)
class Fault:
    """A file with which something went wrong.

    Attributes:
        number: Number of the file.
        what: What happened, in a line.
        kept: Copy of the file.
    """

    number: int
    what: str
    kept: Path


def fuzz(
    seed: int, numbers: Sequence[int], out: Path, only: str | None = None
) -> Iterator[tuple[str, Fault | None]]:
    """Yield for each file its kind, and the fault if there is one.

    Args:
        seed: Seed of the mutations.
        numbers: Numbers of the files; seed and number determine a file.
        out: Folder for copies of the files with a fault.
        only: One kind of files; None takes all.
    """
    with tempfile.TemporaryDirectory() as place:
        found = targets(Path(place) / "seeds")
        kinds = {only: found[only]} if only else found
        place = Path(place) / "work"
        rest = list(numbers[:_MADE_ANEW])
        position = len(rest)
        while rest:
            for number, kind, what in _in_child(kinds, seed, rest, place):
                rest.remove(number)
                fault = None
                if what is not None:
                    fault = Fault(number, what, _kept(place, out, number))
                yield kind, fault
            if not rest:
                rest = list(numbers[position : position + _MADE_ANEW])
                position += len(rest)


def _in_child(
    kinds: dict[str, Target], seed: int, numbers: Sequence[int], place: Path
) -> Iterator[tuple[int, str, str | None]]:
    """Yield number, kind and fault of each file that a child reads, until it dies or is killed."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=_read_all, args=(kinds, seed, numbers, place, there), daemon=True)
    child.start()
    there.close()
    try:
        for number in numbers:
            here.send("next")  # the child waits, so that a file with a fault can be copied
            kind = here.recv()
            if not _answers(here, psutil.Process(child.pid)):
                yield number, kind, "no answer for 10 s"
                return
            try:
                what = here.recv()
            except EOFError:
                child.join()
                yield number, kind, f"died ({child.exitcode})"
                return
            yield number, kind, what
    finally:
        child.kill()
        child.join()


def _answers(here: Connection, child: psutil.Process) -> bool:
    """Wait until the child answers; return False if it takes too long.

    Its time on the processor counts, so that a busy machine makes no faults.
    """
    before = sum(child.cpu_times()[:2])
    for _ in range(round(_LONGEST_WALL_S)):
        if here.poll(1):
            return True
        if sum(child.cpu_times()[:2]) - before > LONGEST_S:
            return False
    return False


def _read_all(
    kinds: dict[str, Target], seed: int, numbers: Sequence[int], place: Path, answer: Connection
) -> None:
    """Read files one by one; send the kind of each before it is read, and its fault after it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes what it finds
    names = list(kinds)
    shares = np.array([kinds[name].share for name in names])
    for number in numbers:
        answer.recv()
        random = np.random.default_rng([seed, number])
        name = names[int(random.choice(len(names), p=shares / shares.sum()))]
        answer.send(name)
        path = _made(kinds[name], random, place)
        answer.send(_fault(kinds[name], path, place))
    answer.close()
    os._exit(0)


def _made(target: Target, random: np.random.Generator, place: Path) -> Path:
    """Write a mutated file into an empty folder, and return its path."""
    shutil.rmtree(place, ignore_errors=True)
    (place / "in").mkdir(parents=True)
    (place / "out").mkdir()
    file = list(target.seeds)[int(random.integers(len(target.seeds)))]
    path = place / "in" / file
    path.write_bytes(mutated(target.seeds[file], list(target.seeds.values()), random))
    return path


def _fault(target: Target, path: Path, place: Path) -> str | None:
    """Read a file and return what went wrong, None if nothing did."""
    os.chdir(place / "out")
    before = path.read_bytes()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            target.read(path, place / "out")
    except ValueError as error:
        if "\n" in str(error).strip():
            return f"a message of several lines: {str(error)[:100]!r}"
    except BaseException:
        return " <- ".join(traceback.format_exc().strip().splitlines()[:-4:-1])
    if "Traceback" in said.getvalue():
        return said.getvalue()[-300:]
    if not path.is_file() or path.read_bytes() != before:
        return "the file was changed"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    if grown * 1024 > MOST_BYTES:
        return f"{grown / 2**20:.1f} GiB of memory"
    stray = {each.name for each in place.iterdir()} - {"in", "out"}
    return f"written outside of the results: {stray}" if stray else None


def _kept(place: Path, out: Path, number: int) -> Path:
    """Copy a file with a fault to a folder, and return the copy."""
    [path] = [each for each in (place / "in").iterdir() if "shard-" not in each.name][:1]
    kept = out / f"{number}-{path.name}"
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, kept)
    return kept
