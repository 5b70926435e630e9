"""Upscale one photograph of a request: the file in, the result and a preview out."""

import math
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lsr.images import (
    WRITTEN_FORMATS,
    EncodedImage,
    Photograph,
    PictureStream,
    UnfitFormat,
    UnreadableImage,
    fit_for,
    not_kept,
    read_photograph,
    suffix_of_same_format,
    write_stream,
)
from lsr.inference.comparison_page import jpeg_of, kept_pixels, rgb_profile, upsampled
from lsr.inference.memory import is_out_of_memory, shortage
from lsr.inference.upscaler import Upscaler
from lsr.models.fidelity import load_blend
from lsr.serve.checks import cleaned_name
from lsr.serve.jobs import Watch
from lsr.serve.limits import BAD_REQUEST, NO_PICTURE, TOO_LARGE, Refused
from lsr.serve.settings import Settings

_PREVIEW_PIXELS = 16e6
_PREVIEW_SIDE = 8192
"""Most pixels and longest side of a preview: a telephone holds four bytes for each of them."""


@dataclass(frozen=True)
class Preview:
    """Two pictures of the same size for a page.

    Attributes:
        before: JPEG file of the photograph, enlarged bicubically.
        after: JPEG file of the result.
        factor: By what number height and width of the result were divided.
    """

    before: Path
    after: Path
    factor: int


@dataclass(frozen=True)
class Result:
    """A photograph that was upscaled.

    Attributes:
        file: The result.
        width: Its columns.
        height: Its rows.
        notes: What of the photograph the file does not keep, in words.
        preview: Pictures for a page, if they were asked for.
    """

    file: Path
    width: int
    height: int
    notes: list[str]
    preview: Preview | None = None


def name_of_result(name: str) -> str:
    """Return the name of a result: that of the photograph, cleaned, in a format that we write."""
    path = Path(cleaned_name(name))
    return path.stem + suffix_of_same_format(path)


def upscale_one(
    source: EncodedImage, target: Path, settings: Settings, watch: Watch, preview: bool = False
) -> Result:
    """Upscale a photograph into a file, in the way of `lsr upscale --format same`.

    Args:
        source: File of the photograph, and its name for messages.
        target: File of the result; its suffix chooses the format.
        settings: How it is upscaled.
        watch: Function that is told the finished share, and may raise to stop the work.
        preview: Whether to write two pictures for a page beside the result.

    Raises:
        Refused: If the photograph cannot be read, is too large for the memory or for the format.
    """
    kind = WRITTEN_FORMATS[target.suffix.lower()]
    try:
        photograph = fit_for(kind, read_photograph(source))
        consume = partial(_write, photograph, target, kind, preview)
        upscaler = _upscaler_of(settings)
        result = upscaler.process(photograph, settings.scale, consume, watch, settings.tags)
    except Exception as error:
        raise _refusal_of(error, source.name) from None
    return replace(result, notes=not_kept(photograph, kind))


def _upscaler_of(settings: Settings) -> Upscaler:
    """Return an upscaler with the settings of a request."""
    upscaler = copy(settings.upscaler)
    if settings.fidelity is not None:
        denoiser, shift = load_blend(settings.fidelity)
        upscaler = Upscaler(denoiser, shift, device=upscaler.device)
    upscaler.sampling = settings.sampling
    return upscaler


def _write(
    photograph: Photograph, target: Path, kind: str, preview: bool, picture: PictureStream
) -> Result:
    """Write the result and, if wanted, the preview; return them without notes."""
    result = Result(target, picture.width, picture.height, [])
    if not preview:
        write_stream(target, picture, kind)
        return result
    factor = _divisor(picture.height, picture.width)
    picture, after = kept_pixels(picture, factor)
    write_stream(target, picture, kind)
    icc = rgb_profile(photograph)
    shown = Preview(target.parent / "before.jpg", target.parent / "after.jpg", factor)
    shown.before.write_bytes(jpeg_of(upsampled(photograph, *after.shape[:2]), icc))
    shown.after.write_bytes(jpeg_of(after, icc))
    return replace(result, preview=shown)


def _divisor(height: int, width: int) -> int:
    """Return by what number height and width are divided for a preview: 1 if it may be as large."""
    needed = max(
        math.sqrt(height * width / _PREVIEW_PIXELS), height / _PREVIEW_SIDE, width / _PREVIEW_SIDE
    )
    return max(1, math.ceil(needed))


def _refusal_of(error: Exception, name: str) -> Exception:
    """Return what a person is told about an error; errors that are not theirs stay as they are."""
    if isinstance(error, UnreadableImage):
        return Refused(str(error), NO_PICTURE)
    if isinstance(error, UnfitFormat):
        return Refused(f"{name}: {error}", BAD_REQUEST)
    if is_out_of_memory(error):
        return Refused(f"{name}: {shortage(error)}: make the picture smaller", TOO_LARGE)
    return error
