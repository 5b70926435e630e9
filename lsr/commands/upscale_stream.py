"""`lsr upscale -`: upscale the picture on standard input, and write it to standard output."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from lsr.commands.upscale_options import STANDARD_INPUT
from lsr.commands.upscale_photographs import Watch, attempt, load_upscaler, texts_of, upscale_one
from lsr.console.standard_output import ClosedOutput
from lsr.errors import BAD_USAGE, DONE, SOME_FAILED

if TYPE_CHECKING:
    from lsr.images import EncodedImage, Photograph, PictureStream
    from lsr.inference.upscaler import Upscaler


def upscale_stream(options: argparse.Namespace) -> int:
    """Upscale one picture from standard input to standard output, and return the exit code.

    Nothing is written unless the whole result is there. The picture and its result are kept in
    temporary files, so that standard input needs no more memory than a file.

    Raises:
        ValueError: If the options or the streams do not fit, or the model cannot be used.
    """
    _check(options)
    from lsr.images import EncodedImage
    from lsr.inference.temporary_file import naming_a_full_disk
    from lsr.models.pretrained import find_model

    upscaler = load_upscaler(options, find_model(options.model))
    with _temporary_file() as received, _temporary_file() as result:
        try:
            with naming_a_full_disk():
                shutil.copyfileobj(sys.stdin.buffer, received)
                received.flush()
        except OSError as error:
            raise ValueError(f"standard input: {error.strerror}") from error
        failure = _upscale(options, EncodedImage("standard input", received), result, upscaler)
        if failure is not None:
            from lsr.inference.memory import BeyondBudget

            return BAD_USAGE if isinstance(failure, BeyondBudget) else SOME_FAILED
        result.seek(0)
        shutil.copyfileobj(result, sys.stdout.buffer)
    return DONE


@contextmanager
def _temporary_file() -> Iterator[BinaryIO]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
    try:
        yield file
    finally:
        # After a full disk it fails once more.
        with suppress(OSError):
            file.close()


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError if an option does not fit to standard input and output."""
    if options.src != [STANDARD_INPUT]:
        raise ValueError(
            "- is standard input and must stand alone: give files in another command (./- is a "
            "file of that name)"
        )
    if options.devices != 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("one process upscales standard input: leave out --devices and torchrun")
    for option, chosen in (("--out", options.out), ("--save-compare", options.save_compare)):
        if chosen:
            raise ValueError(f"the result of - goes to standard output: leave out {option}")
    if sys.stdin is None or isinstance(sys.stdout, ClosedOutput):
        raise ValueError("standard input or output is closed: - reads the one and writes the other")
    if sys.stdin.isatty():
        raise ValueError("standard input is a terminal: give a picture, such as - < photo.jpg")
    if sys.stdout.isatty():
        raise ValueError("standard output is a terminal: name a file, such as - > large.png")


def _upscale(
    options: argparse.Namespace, source: "EncodedImage", result: BinaryIO, upscaler: "Upscaler"
) -> Exception | None:
    """Upscale a picture into a file; return the failure, which has been told, or None."""
    from lsr.console.progress_bar import progress_bar
    from lsr.distributed.processes import ALONE
    from lsr.images import write_picture
    from lsr.inference.temporary_file import naming_a_full_disk

    source.file.seek(0)
    own_format = _format_of(source.file.read(12))
    kind = own_format if options.format in (None, "same") else options.format
    text = texts_of(options, [source], upscaler).get(source, "")

    def write(photograph: "Photograph", picture: "PictureStream") -> None:
        result.seek(0)
        result.truncate()
        with naming_a_full_disk():
            write_picture(result, picture, kind, options.quality)
            result.flush()

    with progress_bar("upscaling", 1, "picture") as bar:
        watch = Watch(bar, 1)
        work = partial(upscale_one, source, kind, write, ALONE, upscaler, options, watch, text)
        return attempt(work, source, bar, told=True)


def _format_of(head: bytes) -> str:
    """Return the format of the picture, or PNG if it is one that we do not write.

    Args:
        head: The first 12 bytes of the picture.
    """
    if head.startswith(b"\xff\xd8"):
        return "jpeg"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    return "webp" if head[:4] == b"RIFF" and head[8:] == b"WEBP" else "png"
