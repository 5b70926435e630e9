"""The lock of a run folder: held by a living process, never by a dead one."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from itertools import count

import pytest
from support.patience import wait_until
from support.processes import environment

import lsr.training.run_lock as run_lock
from lsr.training.run_lock import LOCK, locked

HOLDER = """
import multiprocessing, sys, time
from pathlib import Path
from lsr.training.run_lock import locked

with locked(Path(sys.argv[1])):
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,)).start()
    print("held", flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock, and has a worker that outlives it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_living_run_keeps_others_out_and_is_named(holder, tmp_path):
    with pytest.raises(ValueError, match=f"process {holder.pid} on .* is training here"):
        with locked(tmp_path):
            pass
    assert json.loads((tmp_path / LOCK).read_text())["process"] == holder.pid


def test_a_killed_run_frees_the_folder_at_once(holder, tmp_path, monkeypatch):
    holder.kill()
    holder.wait()
    monkeypatch.setattr(run_lock.time, "sleep", lambda seconds: pytest.fail("it waits"))
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The file of a run on another host, whose lock is not visible here."""
    monkeypatch.setattr(run_lock, "PATIENCE_S", 0.4)
    path = tmp_path / LOCK
    path.write_text(json.dumps({"host": "far", "process": 7, "start": "2026-01-01 00:00:00"}))
    return path


def test_a_run_of_another_host_that_gives_no_sign_of_life_is_replaced(elsewhere, capsys):
    with locked(elsewhere.parent):
        assert json.loads(elsewhere.read_text())["process"] == os.getpid()
    assert "process 7 on far" in capsys.readouterr().err


def test_a_run_of_another_host_that_lives_keeps_others_out(elsewhere, monkeypatch):
    """Also if this process stands still meanwhile, for longer than it wanted to wait."""
    now = count(0, 1000)
    monkeypatch.setattr(run_lock.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(run_lock.time, "sleep", lambda seconds: os.utime(elsewhere, ns=(1, 1)))
    with pytest.raises(ValueError, match="process 7 on far"):
        with locked(elsewhere.parent):
            pass
    assert json.loads(elsewhere.read_text())["process"] == 7


def test_a_run_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT_S", 0.02)
    with locked(tmp_path):
        before = (tmp_path / LOCK).stat().st_mtime_ns
        wait_until(lambda: (tmp_path / LOCK).stat().st_mtime_ns > before)
    assert not (tmp_path / LOCK).exists()


def test_without_locks_of_the_file_system_the_signs_of_life_decide(holder, tmp_path, monkeypatch):
    def unsupported(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(run_lock.fcntl, "lockf", unsupported)
    monkeypatch.setattr(run_lock, "PATIENCE_S", 0.4)
    touch = partial(os.utime, tmp_path / LOCK, ns=(1, 1))
    monkeypatch.setattr(run_lock.time, "sleep", lambda seconds: touch())
    with pytest.raises(ValueError, match=f"process {holder.pid}"):
        with locked(tmp_path):
            pass
