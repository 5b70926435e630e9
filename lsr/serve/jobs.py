"""One computation at a time: a line of jobs with progress, remaining time and cancelling."""

import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lsr.serve.limits import BUSY, SERVER_FAILED, TOO_LARGE, Limits, Refused

Watch = Callable[[float], None]
"""Function that a job calls now and then with the finished share of its work, from 0 to 1."""


class Cancelled(Exception):  # noqa: N818 (a wish, not a fault)
    """Raised inside a job whose user does not want it any more."""


class Job:
    """A piece of work that waits for its turn; `JobLine.submit` creates it.

    Args:
        work: The work.
        limit_s: Most seconds that it may take.

    Attributes:
        future: What will be the return value of the work, or its exception.
    """

    future: Future[Any]

    def __init__(self, work: Callable[[Watch], Any], limit_s: float) -> None:
        self._work = work
        self._limit_s = limit_s
        self._unwanted = threading.Event()
        self._began: float | None = None
        self.share = 0.0

    def run(self) -> Any:
        """Do the work in this thread.

        Raises:
            Cancelled: If it is not wanted any more.
            Refused: If it failed; a fault of the server is printed on its stderr.
        """
        self._began = time.monotonic()
        try:
            self._watch(0.0)
            return self._work(self._watch)
        except Cancelled:
            outcome: Exception = Cancelled()
        except Refused as error:
            outcome = Refused(str(error), error.status)
        except Exception as error:
            traceback.print_exc()
            reason = f"the server failed ({type(error).__name__}): its log says more"
            outcome = Refused(reason, SERVER_FAILED)
        # A new exception, raised out here: the one that was caught keeps the photograph in memory
        # by the frames of its traceback.
        raise outcome

    def cancel(self) -> None:
        """End the job: at once while it waits, else when it next reports progress."""
        self._unwanted.set()
        self.future.cancel()

    @property
    def left_s(self) -> float | None:
        """Seconds until the end, None while they cannot be known."""
        if self._began is None or not self.share:
            return None
        return (time.monotonic() - self._began) * (1 / self.share - 1)

    def _watch(self, share: float) -> None:
        assert self._began is not None
        if self._unwanted.is_set():
            raise Cancelled
        if time.monotonic() - self._began > self._limit_s:
            raise Refused(
                f"the work took more than {self._limit_s / 60:g} minutes, the limit: choose a "
                "smaller picture or fewer steps",
                TOO_LARGE,
            )
        self.share = max(share, self.share)  # it falls back if memory ran out and work begins anew


class JobLine:
    """Does the jobs of all users one after another, in the order in which they came.

    Args:
        limits: Limits of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._worker = ThreadPoolExecutor(1, "upscaling")
        self._line: list[Job] = []
        self._lock = threading.Lock()

    def submit(self, work: Callable[[Watch], Any]) -> Job:
        """Put work at the end of the line.

        Args:
            work: Function that gets a `Watch`, calls it, and lets its exceptions pass.

        Raises:
            Refused: If the line is too long.
        """
        job = Job(work, 60 * self._limits.minutes)
        with self._lock:
            if len(self._line) >= self._limits.waiting:
                raise Refused(f"{len(self._line)} photographs wait already: try again later", BUSY)
            self._line.append(job)
            job.future = self._worker.submit(job.run)
        job.future.add_done_callback(lambda _: self._leave(job))
        return job

    def ahead_of(self, job: Job) -> int:
        """Return the number of jobs that come before a job."""
        with self._lock:
            return self._line.index(job) if job in self._line else 0

    def close(self) -> None:
        """Cancel all jobs and wait for the running one to stop."""
        with self._lock:
            line = list(self._line)
        for job in line:
            job.cancel()
        self._worker.shutdown(cancel_futures=True)

    def _leave(self, job: Job) -> None:
        with self._lock:
            self._line.remove(job)
