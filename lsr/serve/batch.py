"""The run of a page: its photographs one after another, with progress and one line for each.

Each photograph waits in the line of jobs by itself, so the photographs of two pages take turns.
"""

import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lsr.files import atomic_path
from lsr.images import EncodedImage
from lsr.serve.checks import check_photograph
from lsr.serve.jobs import Cancelled, Job, JobLine, Watch
from lsr.serve.limits import Limits, Refused
from lsr.serve.one_photograph import Result, name_of_result, upscale_one
from lsr.serve.settings import Settings
from lsr.serve.workplace import Session, Workplace

SHOW_EVERY_S = 0.4
"""Seconds between two states of the progress."""

ZIP = "upscaled.zip"
"""Name of the file with all results of a run."""


@dataclass(frozen=True)
class Progress:
    """The state of a photograph that is not finished.

    Attributes:
        name: Its name.
        number: Its number in the run, from 1.
        of: Photographs of the run.
        ahead: Photographs of others that come before it.
        share: Finished share of the work.
        left_s: Seconds that are left, None if that is not known.
    """

    name: str
    number: int
    of: int
    ahead: int
    share: float
    left_s: float | None


@dataclass(frozen=True)
class Line:
    """What is said about a photograph that is finished, in one line.

    Attributes:
        text: The line.
        refused: Whether it tells why there is no result.
    """

    text: str
    refused: bool = False


@dataclass(frozen=True)
class Batch:
    """The photographs of one run of a page.

    Attributes:
        uploads: Paths as the page sent them.
        settings: How they are upscaled.
        limits: Limits of the server.
        line: The line of jobs.
        workplace: The temporary folder.
        session: The session of the page; `results` gets the results.

    Raises:
        Refused: If there is no photograph, or too many.
    """

    uploads: Sequence[str]
    settings: Settings
    limits: Limits
    line: JobLine
    workplace: Workplace
    session: Session

    def __post_init__(self) -> None:
        if not self.uploads:
            raise Refused("there is no photograph yet: drop one, or choose a file")
        if len(self.uploads) > self.limits.files:
            raise Refused(
                f"{len(self.uploads)} photographs are more than the limit of {self.limits.files}: "
                "remove some"
            )

    def run(self) -> Iterator[Progress | Line]:
        """Upscale the photographs; yield the progress of each, and a line at its end."""
        try:
            for number, upload in enumerate(self.uploads, 1):
                try:
                    yield from self._upscale(upload, number)
                except Refused as error:
                    yield Line(str(error), refused=True)
            if len(self.session.results) > 1:
                yield from self._pack()
        except (Cancelled, CancelledError):
            yield Line("cancelled", refused=True)

    def _upscale(self, upload: str, number: int) -> Iterator[Progress | Line]:
        path = self.workplace.upload_at(upload)
        with path.open("rb") as file:
            source = EncodedImage(path.name, file)
            check_photograph(source, self.settings.scale, self.limits)
            name = self._unused(name_of_result(path.name))
            target = self.session.folder / str(number) / name
            work = partial(upscale_one, source, target, self.settings, preview=True)
            began = time.monotonic()
            job = self.session.submit(work)
            while not job.future.done():
                yield self._progress(path.name, number, job)
                _wait(job)
            result = job.future.result()
        self.session.results[name] = result
        yield Line(_said(path.name, result, time.monotonic() - began))

    def _progress(self, name: str, number: int, job: Job) -> Progress:
        ahead = self.line.ahead_of(job)
        return Progress(name, number, len(self.uploads), ahead, job.share, job.left_s)

    def _unused(self, name: str) -> str:
        """Return a name that no result has yet: `a-2.png` if there is an `a.png`."""
        path = Path(name)
        number = 1
        while name in self.session.results:
            number += 1
            name = f"{path.stem}-{number}{path.suffix}"
        return name

    def _pack(self) -> Iterator[Line]:
        """Write the zip; yield a line if that is refused."""
        try:
            self.session.submit(self._zip).future.result()
        except Refused as error:
            yield Line(f"{ZIP}: {error}", refused=True)

    def _zip(self, watch: Watch) -> None:
        target = self.session.folder / ZIP
        with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for done, (name, result) in enumerate(self.session.results.items()):
                watch(done / len(self.session.results))
                archive.write(result.file, name)


def _wait(job: Job) -> None:
    """Wait until a job is done, but not long."""
    try:
        job.future.exception(SHOW_EVERY_S)
    except (TimeoutError, CancelledError):
        return


def _said(name: str, result: Result, seconds: float) -> str:
    text = f"{name}: {result.width} x {result.height} pixels, {seconds:.1f} s"
    if result.preview is not None and result.preview.factor > 1:
        text += f"; shown at 1/{result.preview.factor} of its size, the download has all pixels"
    return "; ".join([text, *result.notes])
