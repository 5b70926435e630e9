"""Opening image files for decoding; every failure becomes one `UnreadableImage` error."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from lsr.error_text import first_clause


class UnreadableImage(ValueError):  # noqa: N818
    """A file that cannot be read as an image; the message is one line, `path: reason`."""


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
    truncation_allowed = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other libraries switch it on for the whole process
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with _binary_file(source) as file:
                file.seek(0)
                if not file.read(1):
                    raise UnreadableImage(f"{source}: the file is empty")
                file.seek(0)
                yield file
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(
            f"{source}: not a PNG, JPEG, WebP, TIFF or BMP image, or an unsupported or damaged one"
        ) from None
    except Image.DecompressionBombError:
        raise UnreadableImage(
            f"{source}: more than {pixel_limit():,} pixels, the limit; cut it into smaller pictures"
        ) from None
    except Exception as error:
        # Pillow's parsers do not catch what a damaged file provokes in them: struct.error,
        # KeyError, SyntaxError and others.
        if isinstance(error, OSError) and error.strerror:
            raise UnreadableImage(f"{source}: {error.strerror}") from None
        raise UnreadableImage(f"{source}: damaged or truncated ({first_clause(error)})") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncation_allowed


def _binary_file(source: Path | EncodedImage) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, EncodedImage):
        return nullcontext(source.file)
    return open(source, "rb")


def pixel_limit() -> int:
    """Return the number of pixels above which an image is refused.

    It is twice `PIL.Image.MAX_IMAGE_PIXELS`, where Pillow raises an error. Pillow warns from half
    of that on, but today's cameras make such pictures.
    """
    return 2 * (Image.MAX_IMAGE_PIXELS or 2**62)
