"""`lsr upscale`: upscale photographs of any size, and folders of them."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.commands.upscale_options import SUFFIXES, parser, sampling_of
from lsr.exit_codes import DONE, SOME_FAILED

if TYPE_CHECKING:
    from lsr.images.photograph import Photograph, PictureStream
    from lsr.inference.record import UpscaleRecord
    from lsr.inference.upscaler import Upscaler
    from lsr.progress_bar import ProgressBar

_FORMATS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""Format of a result with each suffix."""


def main(arguments: Sequence[str]) -> int:
    """Run `lsr upscale` and return the exit code."""
    options = parser().parse_args(arguments[1:])
    if not 1 <= options.quality <= 100:
        raise ValueError(f"--quality must be from 1 to 100, not {options.quality}")
    sampling = asdict(sampling_of(options))
    from lsr.images import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, collect

    pairs = collect(
        options.src,
        options.out,
        _suffix_of(options.format),
        options.recursive,
        IMAGE_SUFFIXES | FOREIGN_SUFFIXES,
    )
    _make_folder(options.out)

    from lsr.inference.record import UpscaleRecord
    from lsr.inference.upscaler import Upscaler, target_size
    from lsr.models.pretrained import find_model

    target_size(1, 1, options.scale)  # refuses a bad scale before the model is loaded
    model = find_model(options.model)
    upscaler = Upscaler.from_pretrained(model, **sampling)
    texts = _texts(options, [source for source, _ in pairs], upscaler)
    outcome = {"scale": options.scale, "quality": options.quality, "compare": options.save_compare}
    record = UpscaleRecord(options.out, model, sampling | outcome, texts)
    todo = [pair for pair in pairs if not record.has(*pair)]
    failed = _upscale_all(todo, upscaler, options, record, texts)
    earlier = len(pairs) - len(todo)
    notes = f", {earlier} of them by an earlier run" if earlier else ""
    notes += f"; {failed} failed" if failed else ""
    sys.stdout.write(f"{len(pairs) - failed} of {len(pairs)} images are in {options.out}{notes}\n")
    return SOME_FAILED if failed else DONE


def _suffix_of(chosen: str) -> Callable[[Path], str]:
    """Return the function that gives the suffix of the result for each input path."""
    if chosen != "same":
        return lambda path: SUFFIXES[chosen]
    return lambda path: path.suffix if path.suffix.lower() in _FORMATS else ".png"


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"--out {out} is not a folder: choose another path") from None
    except OSError as error:
        raise ValueError(f"--out {out} cannot be created: {error.strerror}") from error


def _texts(
    options: argparse.Namespace, photographs: Sequence[Path], upscaler: "Upscaler"
) -> Mapping[Path, str]:
    """Return the text that guides each photograph; an empty mapping if the model takes no text."""
    from lsr.guidance.upscale_texts import note_ignored_options, tagger_of, texts_for

    guidance = upscaler.denoiser.config.guidance
    if guidance in ("none", "visual"):  # visual guidance is computed from the photograph itself
        note_ignored_options(guidance, options.tags, options.guidance_scale)
        return {}
    tagger = tagger_of(options.tags, options.tagger, options.tagger_weights, options.tags_list)
    texts = texts_for(photographs, options.src, options.tags, tagger)
    upscaler.expect(texts.values())
    return texts


def _upscale_all(
    pairs: Sequence[tuple[Path, Path]],
    upscaler: "Upscaler",
    options: argparse.Namespace,
    record: "UpscaleRecord",
    texts: Mapping[Path, str],
) -> int:
    """Upscale photographs and name those that fail.

    Args:
        pairs: The file of each photograph, and the file of its result.
        upscaler: The model.
        options: The command line.
        record: Record of finished results.
        texts: Text that guides each photograph.

    Returns:
        The number of photographs that failed.
    """
    from lsr.images import read_photograph
    from lsr.inference.memory import is_out_of_memory
    from lsr.progress_bar import progress_bar

    failed = 0
    with progress_bar("upscaling", len(pairs), "photographs") as bar:
        for source, target in pairs:
            watch = _Watch(bar)
            try:
                photograph = read_photograph(source)
                text = texts.get(source, "")
                notes = _upscale_one(
                    photograph, source.name, target, upscaler, options, watch, text
                )
                for note in notes:
                    bar.say(f"note: {source}: {note}")
                record.add(source, target)
            except Exception as error:
                # ValueError: an unreadable file, or a format that cannot hold the result.
                if not isinstance(error, (ValueError, OSError)) and not is_out_of_memory(error):
                    raise
                failed += 1
                bar.say(f"failed: {_failure(source, error)}")
            watch(1.0)  # a photograph that failed is over too
    return failed


def _failure(source: Path, error: Exception) -> str:
    """Return what an error says, in one line that begins with the photograph's path."""
    from lsr.error_text import first_clause

    if isinstance(error, RuntimeError):  # PyTorch ran out of memory; its text has several lines
        return f"{source}: {first_clause(error)}; choose a smaller --tile"
    message = str(error)
    if message.startswith(f"{source}: "):
        return message
    return f"{source}: {' '.join(message.split())}"


def _upscale_one(
    photograph: "Photograph",
    name: str,
    target: Path,
    upscaler: "Upscaler",
    options: argparse.Namespace,
    watch: Callable[[float], None],
    text: str,
) -> list[str]:
    """Upscale one photograph, and write the result and the comparison.

    Args:
        photograph: The input.
        name: File name of the input, for the page of the comparison.
        target: File of the result.
        upscaler: The model.
        options: The command line.
        watch: Function that is called with the share of the result that is finished.
        text: Text that guides the model.

    Returns:
        Notes for the user.
    """
    from lsr.images import write_stream
    from lsr.inference.comparison_page import kept_pixels, write_comparison

    file_format = _FORMATS[target.suffix.lower()]

    def write(picture: "PictureStream") -> None:
        if not options.save_compare:
            return write_stream(target, picture, file_format, options.quality)
        picture, pixels = kept_pixels(picture)
        write_stream(target, picture, file_format, options.quality)
        write_comparison(target, name, photograph, pixels)

    upscaler.process(photograph, options.scale, write, watch, text)
    if photograph.bits == 16 and file_format in ("jpeg", "webp"):
        kind = file_format.upper()
        return [f"16 bits per sample became 8, {kind} holds no more: choose png or tiff"]
    return []


class _Watch:
    """Advances the progress bar by one photograph, part by part.

    Args:
        bar: The progress bar, in photographs.
    """

    def __init__(self, bar: "ProgressBar") -> None:
        self._bar = bar
        self._share = 0.0

    def __call__(self, share: float) -> None:
        """Show that a share of the photograph is finished.

        The share falls back when memory runs out and the photograph is begun again: the bar waits.
        """
        if share > self._share:
            self._bar.advance(share - self._share)
            self._share = share
