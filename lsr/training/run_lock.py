"""The lock of a run folder: two runs never train in the same folder at once."""

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOCK = "run.lock"
"""Name of the lock's file in the run folder: host, process and start of the run that trains."""

BEAT_S = 15.0
"""Seconds between two signs of life that a run gives by touching the file."""

PATIENCE_S = 60.0
"""Seconds without a sign of life after which a run on another host counts as dead."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder; the file is removed at the end.

    The operating system frees the lock when its process dies, however it dies. A lock of another
    host is not reliably visible on every network file system. So if the file names another host, or
    if the file system has no locks, the file's time is watched for `PATIENCE_S` seconds: a living
    run touches it every `BEAT_S` seconds.

    Args:
        folder: The run folder, made if it does not exist.

    Raises:
        ValueError: If another process that is alive holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    file = _take(path)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        path.unlink(missing_ok=True)
        os.close(file)


def _take(path: Path) -> int:
    """Lock the file, write this process into it, and return the file's descriptor."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            reliable = _lock(file, path)
            if not _is_at(path, file):  # an ending run has removed it meanwhile
                os.close(file)
                continue
            _wait_for_death(path, file, reliable)
        except BaseException:
            os.close(file)
            raise
        document = {"host": socket.gethostname(), "process": os.getpid(), "start": _now()}
        os.truncate(file, 0)
        os.pwrite(file, json.dumps(document).encode(), 0)
        os.fsync(file)
        return file


def _lock(file: int, path: Path) -> bool:
    """Lock an open file. Return whether the file system has locks.

    It is a POSIX record lock: unlike one of `flock`, it is not inherited by data workers, which
    may outlive a killed run by some seconds.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise _in_use(path, _owner(file)) from error
    except OSError:
        return False
    return True


def _is_at(path: Path, file: int) -> bool:
    """Return whether the path still names the open file."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file))
    return False


def _wait_for_death(path: Path, file: int, reliable: bool) -> None:
    """Return when the owner in the file is dead.

    Args:
        path: Path of the lock's file.
        file: Descriptor of the file.
        reliable: Whether this process holds the file system's lock.

    Raises:
        ValueError: If the owner gives a sign of life within `PATIENCE_S` seconds.
    """
    owner = _owner(file)
    if not owner or (reliable and owner["host"] == socket.gethostname()):
        return
    sys.stderr.write(
        f"{path}: waiting {PATIENCE_S:.0f} s to see whether {_named(owner)} is still alive\n"
    )
    first = _touched(path)
    end = time.monotonic() + PATIENCE_S
    waiting = True
    while waiting:
        time.sleep(min(1.0, PATIENCE_S / 4))
        # Asked before the file is looked at: this process may stand still for longer than that.
        waiting = time.monotonic() < end
        if _touched(path) != first:
            raise _in_use(path, owner)


def _owner(file: int) -> dict[str, Any]:
    """Return what the owner has written; nothing if the file is new or incomplete."""
    try:
        return json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}


def _touched(path: Path) -> int:
    """Return the time of the file's last change in nanoseconds, or 0 if it is gone."""
    try:
        with os.scandir(path.parent) as entries:  # network file systems then ask the server again
            next(entries, None)
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _in_use(path: Path, owner: dict[str, Any]) -> ValueError:
    return ValueError(
        f"{path.parent}: {_named(owner)} is training here; wait for its end, or choose another "
        "folder with --trainer.default_root_dir"
    )


def _named(owner: dict[str, Any]) -> str:
    if not owner:
        return "another process"
    return f"process {owner['process']} on {owner['host']}, started {owner['start']},"


def _beat(path: Path, stop: threading.Event) -> None:
    """Touch the file until the run ends."""
    while not stop.wait(BEAT_S):
        with contextlib.suppress(OSError):
            os.utime(path)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
