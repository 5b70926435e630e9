"""The temporary files of a server: a folder for each session, which is deleted with it."""

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lsr.serve.checks import cleaned_name
from lsr.serve.jobs import Cancelled, Job, JobLine, Watch
from lsr.serve.limits import Refused
from lsr.serve.one_photograph import Result

_KEPT_S = 6 * 3600
"""Seconds after which files are deleted whose session never ended, or never began."""


class Session:
    """What one open page has: its uploads, its results and its current job.

    Args:
        folder: Folder of the results; it has a name that cannot be guessed.
        line: The line of jobs.

    Attributes:
        uploads: Files that the page has uploaded.
        results: Results of the latest run, by name.
        used: When the page last asked for something, in seconds since 1970.
        cancelled: Whether the latest run was cancelled.
    """

    def __init__(self, folder: Path, line: JobLine) -> None:
        self.folder = folder
        self.uploads: set[Path] = set()
        self.results: dict[str, Result] = {}
        self.used = time.time()
        self._line = line
        self._job: Job | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.cancelled = False

    def submit(self, work: Callable[[Watch], Any]) -> Job:
        """Put work that writes into the folder into the line.

        Raises:
            Cancelled: If the session is over, or its run was cancelled.
            Refused: If the line is too long.
        """
        with self._lock:
            if self._closed or self.cancelled:
                raise Cancelled
            self.used = time.time()
            self._job = self._line.submit(work)
            return self._job

    def start(self) -> None:
        """Begin a run: delete the results of the one before.

        Raises:
            Refused: If the run before has not ended.
        """
        with self._lock:
            if self._job is not None and not self._job.future.done():
                raise Refused("photographs of this page are being upscaled: wait, or cancel them")
            self.cancelled = False
        self.results.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cancel(self) -> None:
        """End the run: the current photograph stops, those after it do not begin."""
        with self._lock:
            self.cancelled = True
            if self._job is not None:
                self._job.cancel()

    def close(self) -> None:
        """End the session, and delete its folder as soon as its job has stopped."""
        self.cancel()
        with self._lock:
            self._closed = True
            job = self._job
        if job is None:
            self._delete()
        else:
            job.future.add_done_callback(lambda _: self._delete())

    def _delete(self) -> None:
        for folder in (self.folder, *(path.parent for path in self.uploads)):
            shutil.rmtree(folder, ignore_errors=True)


class Workplace:
    """The folder of a server with the files of all sessions.

    Args:
        line: The line of jobs.
    """

    def __init__(self, line: JobLine) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lsr-serve-")).resolve()
        self._line = line
        self._sessions: dict[str, Session] = {}
        self._uploads: set[Path] = set()
        self._lock = threading.Lock()

    def session(self, key: str) -> Session:
        """Return the session of a page; it begins with the first call.

        Args:
            key: What the page is known by.
        """
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = Session(self.new_folder(), self._line)
            session = self._sessions[key]
            session.used = time.time()
            self._delete_old()
        return session

    def end(self, key: str) -> None:
        """End a session, if it ever began, and delete its files."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is not None:
            session.close()

    def new_upload(self, name: str) -> Path:
        """Return the path of a file for an upload; its folder exists.

        Args:
            name: The name that the file has with its owner.
        """
        path = self.new_folder() / cleaned_name(name)
        path.parent.mkdir()
        with self._lock:
            self._uploads.add(path)
        return path

    def upload_at(self, path: str) -> Path:
        """Return the uploaded file at a path that a page has sent.

        Raises:
            Refused: If there is no such upload: a page may send any path.
        """
        file = Path(path)
        if file not in self._uploads or not file.exists():
            raise Refused(f"{cleaned_name(path)}: is not there any more: upload it again")
        return file

    def result_at(self, path: str) -> Path:
        """Return the result, or the preview, at a path that a page asks for.

        Raises:
            Refused: If there is no such file, or no session has made it.
        """
        with self._lock:
            folders = {session.folder for session in self._sessions.values()}
        file = Path(path)
        if not self.holds(path) or folders.isdisjoint(file.parents):
            raise Refused("there is no such file")
        return file

    def holds(self, path: str) -> bool:
        """Return whether a path is that of a file in the folder, and leads nowhere else."""
        file = Path(path)
        try:
            return (
                file.resolve(strict=True) == file and file.is_file() and self.folder in file.parents
            )
        except (OSError, ValueError, RuntimeError):
            return False

    def new_folder(self) -> Path:
        """Return the path of a folder, not created yet, that nobody can guess."""
        return self.folder / secrets.token_hex(16)

    def close(self) -> None:
        """End all sessions and delete the folder."""
        for key in list(self._sessions):
            self.end(key)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _delete_old(self) -> None:
        """Delete what no open session needs and is old: unfinished uploads, forgotten pages."""
        oldest = time.time() - _KEPT_S
        for key in [key for key, each in self._sessions.items() if each.used < oldest]:
            self._sessions.pop(key).close()
        needed = {each.folder for each in self._sessions.values()}
        needed |= {path.parent for each in self._sessions.values() for path in each.uploads}
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):
                if Path(entry.path) not in needed and entry.stat().st_mtime < oldest:
                    shutil.rmtree(entry.path, ignore_errors=True)
        self._uploads = {path for path in self._uploads if path.parent.exists()}
