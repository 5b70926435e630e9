"""Check a photograph before it waits for its turn, and clean the names of files.

Nothing here decodes a picture: its size stands in the header of the file.
"""

import os
import re
from pathlib import PurePosixPath

from lsr.images import EncodedImage, UnreadableImage, probe
from lsr.images.opening import TooManyPixels
from lsr.inference.upscaler import target_size
from lsr.serve.limits import NO_PICTURE, TOO_LARGE, Limits, Refused

_ENLARGEMENT = 16
"""Most pixels of a result per pixel of the largest photograph: four times the height and width."""

_LONGEST_STEM = 60
"""Most characters of a name without its suffix: 240 bytes of UTF-8, where file systems take 255."""

_UNNAMED = "photograph"


def check_photograph(source: EncodedImage, scale: float, limits: Limits) -> tuple[int, int]:
    """Check a photograph by its header.

    Args:
        source: The file, and its name for messages.
        scale: Upscaling factor.
        limits: Limits of the server.

    Returns:
        Width and height of the photograph.

    Raises:
        Refused: If it is too large, an animation or no picture, or its result would be too large.
    """
    size = source.file.seek(0, os.SEEK_END)
    if size > limits.file_bytes:
        raise Refused(
            f"{source}: {size / 1e6:,.1f} MB are more than the limit of {limits.megabytes:g} MB: "
            "make the file smaller",
            TOO_LARGE,
        )
    try:
        width, height = probe(source)
    except TooManyPixels:
        width = height = 0
    except UnreadableImage as error:
        raise Refused(str(error), NO_PICTURE) from None
    pixels = width * height / 1e6
    if not 0 < pixels <= limits.megapixels:
        claimed = f"{width}x{height} pixels" if pixels else "the pixels"
        raise Refused(
            f"{source}: {claimed} are more than the limit of {limits.megapixels:g} megapixels: "
            "make the picture smaller",
            TOO_LARGE,
        )
    rows, columns = target_size(height, width, scale)
    if rows * columns / 1e6 > _ENLARGEMENT * limits.megapixels:
        raise Refused(
            f"{source}: the result would have {columns}x{rows} pixels, the limit is "
            f"{_ENLARGEMENT * limits.megapixels:g} megapixels: choose a smaller scale",
            TOO_LARGE,
        )
    return width, height


def cleaned_name(name: str) -> str:
    """Return a name that is safe as that of a file, in a header and on a page.

    It has no folder, no characters that cannot be printed or that a file system or a shell
    interprets, and at most 66 characters.
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(each for each in last if each.isprintable() and each not in '<>:"|?*%&`$')
    path = PurePosixPath(kept.strip(" .") or _UNNAMED)
    suffix = path.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", path.suffix) else ""
    stem = path.name.removesuffix(suffix)[:_LONGEST_STEM].strip(" .")
    return (stem or _UNNAMED) + suffix
