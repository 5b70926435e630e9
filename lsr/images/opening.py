"""Opening image files for decoding; every failure becomes one `UnreadableImage` error."""

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from lsr.errors import first_clause
from lsr.images.formats import unknown_format

MAX_PIXELS = "LSR_MAX_PIXELS"
"""Environment variable with the number of pixels above which an image is refused."""


_LARGEST_CHUNK = 2**26
"""Bytes up to which a text or an ICC profile of a PNG is read; Pillow's own limit is 1 MiB."""


class UnreadableImage(ValueError):  # noqa: N818
    """A file that cannot be read as an image; the message is one line, `path: reason`."""


class TooManyPixels(UnreadableImage):
    """An image with more pixels than `pixel_limit`.

    Args:
        source: The image file.
        limit: The limit.
    """

    def __init__(self, source: object, limit: int) -> None:
        super().__init__(
            f"{source}: more than {limit:,} pixels, the limit: raise it by --max-pixels or, where "
            f"there is no such option, by the environment variable {MAX_PIXELS}"
        )


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image file inside another file or in memory.

    Attributes:
        name: Name of the image in error messages.
        file: Bytes of the image file. The stream must be seekable; it is read from its beginning,
            wherever its position is, and is not closed.
    """

    name: str
    file: BinaryIO

    def __str__(self) -> str:
        return self.name


class _PillowSettings:
    """Changes settings of Pillow while files are open, and then gives them their old values back.

    The settings are those of the whole process, in which several threads may have files open.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._files = 0
        self._usual: tuple[bool, int | None, int] = False, None, 0

    def begin(self, limit: int) -> None:
        """Change the settings for one more file of at most `limit` pixels."""
        with self._lock:
            if self._files == 0:
                self._usual = (
                    ImageFile.LOAD_TRUNCATED_IMAGES,
                    Image.MAX_IMAGE_PIXELS,
                    PngImagePlugin.MAX_TEXT_CHUNK,
                )
            self._files += 1
            ImageFile.LOAD_TRUNCATED_IMAGES = False  # other libraries switch it on
            Image.MAX_IMAGE_PIXELS = -(-limit // 2)
            PngImagePlugin.MAX_TEXT_CHUNK = _LARGEST_CHUNK

    def end(self) -> None:
        """Give the settings their usual values back after the last file."""
        with self._lock:
            self._files -= 1
            if self._files == 0:
                truncation_allowed, pixels, chunk = self._usual
                ImageFile.LOAD_TRUNCATED_IMAGES = truncation_allowed
                Image.MAX_IMAGE_PIXELS = pixels
                PngImagePlugin.MAX_TEXT_CHUNK = chunk


_PILLOW = _PillowSettings()


@contextmanager
def open_image_file(source: Path | EncodedImage) -> Iterator[BinaryIO]:
    """Open an image file for the length of a `with` block and silence Pillow's warnings inside it.

    Args:
        source: The image file.

    Yields:
        The file, at its beginning.

    Raises:
        UnreadableImage: The file is missing or empty, or the block raised any exception.
    """
    limit = pixel_limit()
    head = b""
    _PILLOW.begin(limit)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with _binary_file(source) as file:
                file.seek(0)
                head = file.read(12)
                if not head:
                    raise UnreadableImage(f"{source}: the file is empty")
                file.seek(0)
                yield file
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(f"{source}: {unknown_format(head)}") from None
    except Image.DecompressionBombError:
        raise TooManyPixels(source, limit) from None
    except MemoryError:
        raise UnreadableImage(f"{source}: too large for the free memory") from None
    except Exception as error:
        # Pillow's parsers do not catch what a damaged file provokes in them: struct.error,
        # KeyError, SyntaxError and others.
        if isinstance(error, OSError) and error.strerror:
            raise UnreadableImage(f"{source}: {error.strerror}") from None
        raise UnreadableImage(f"{source}: damaged or truncated ({first_clause(error)})") from error
    finally:
        _PILLOW.end()


def _binary_file(source: Path | EncodedImage) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, EncodedImage):
        return nullcontext(source.file)
    return open(source, "rb")


def pixel_limit() -> int:
    """Return the number of pixels above which an image is refused.

    It is the environment variable `LSR_MAX_PIXELS`, else twice `PIL.Image.MAX_IMAGE_PIXELS`, where
    Pillow raises an error. Pillow warns from half of that on, but today's cameras make such
    pictures.

    Raises:
        ValueError: If the environment variable is no whole number above 0.
    """
    chosen = os.environ.get(MAX_PIXELS)
    if chosen is None:
        return 2 * (Image.MAX_IMAGE_PIXELS or 2**62)
    if not chosen.isdecimal() or int(chosen) < 1:
        raise ValueError(f"{MAX_PIXELS} must be a whole number above 0, not {chosen!r}")
    return int(chosen)
