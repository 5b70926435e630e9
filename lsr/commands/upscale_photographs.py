"""Upscale photographs one after another for `lsr upscale`: write, record, and name failures."""

import argparse
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from lsr.commands.upscale_options import background_of, sampling_of

if TYPE_CHECKING:
    import torch

    from lsr.console.progress_bar import ProgressBar
    from lsr.distributed.processes import Processes
    from lsr.images import EncodedImage
    from lsr.images.photograph import Photograph, PictureStream
    from lsr.inference.record import UpscaleRecord
    from lsr.inference.upscaler import Upscaler

Source = Union[Path, "EncodedImage"]
"""File of a photograph, or a photograph that came through standard input."""

Work = tuple[tuple[Path, Path], "Processes"]
"""The files of a photograph and of its result, and the processes that upscale it together."""


class Failures(NamedTuple):
    """Numbers of photographs that failed.

    Attributes:
        failed: All that failed.
        beyond_budget: Those of them that need more memory than the budget.
    """

    failed: int
    beyond_budget: int


def load_upscaler(
    options: argparse.Namespace,
    model: Path,
    device: "torch.device | None" = None,
    **changes: Any,
) -> "Upscaler":
    """Load the model with the settings of the command line.

    Args:
        options: The command line.
        model: File of the model.
        device: Device to compute on; by default a GPU if there is one.
        **changes: Fields of `SamplingConfig` that differ from the command line.
    """
    from lsr.inference.upscaler import Upscaler

    settings = asdict(sampling_of(options)) | changes
    return Upscaler.from_pretrained(model, fidelity=options.fidelity, device=device, **settings)


def texts_of(
    options: argparse.Namespace, photographs: Sequence[Source], upscaler: "Upscaler"
) -> Mapping[Any, str]:
    """Return the text that guides each photograph; an empty mapping if the model takes no text."""
    from lsr.guidance.upscale_texts import note_ignored_options, tagger_of, texts_for

    config = upscaler.denoiser.config
    if not config.takes_tags:
        note_ignored_options(config.guidance, options.tags, options.guidance_scale)
        return {}
    tagger = tagger_of(options.tags, options.tagger, options.tagger_weights, options.tags_list)
    return texts_for(photographs, options.tags, tagger)


def upscale_all(
    work: Sequence[Work],
    processes: "Processes",
    upscaler: "Upscaler",
    options: argparse.Namespace,
    record: "UpscaleRecord",
    texts: Mapping[Path, str],
) -> Failures:
    """Upscale photographs and name those that fail.

    Args:
        work: The photographs of this process.
        processes: All processes of the command.
        upscaler: The model.
        options: The command line.
        record: Record of finished results.
        texts: Text that guides each photograph.

    Returns:
        The failures among the photographs whose results this process writes.
    """
    from lsr.console.progress_bar import progress_bar
    from lsr.images import WRITTEN_FORMATS, Sizes
    from lsr.inference.memory import BeyondBudget

    failed = 0
    beyond_budget = 0
    several = f" (1 of {processes.size} processes)" if processes.size > 1 else ""
    sizes = Sizes([source for (source, _), _ in work])
    with progress_bar("", sizes.total, "Mpx", shown=processes.leads) as bar:
        for number, ((source, target), team) in enumerate(work):
            bar.describe(f"upscaling{several}, photograph {number + 1} of {len(work)}")
            watch = Watch(bar, sizes[number])
            bar.expect(sizes.total)
            kind = WRITTEN_FORMATS[target.suffix.lower()]
            write = partial(_write, source, target, options, record)
            text = texts.get(source, "")
            one = partial(upscale_one, source, kind, write, team, upscaler, options, watch, text)
            failure = attempt(one, source, bar, team.leads)
            if failure is not None and team.leads:
                failed += 1
                beyond_budget += isinstance(failure, BeyondBudget)
            watch(1.0)  # a photograph that failed is over too
    return Failures(failed, beyond_budget)


def attempt(
    work: Callable[[], Sequence[str]], source: Source, bar: "ProgressBar", told: bool
) -> Exception | None:
    """Upscale one photograph; print the notes about it, or one line that says why it failed.

    Args:
        work: Function that upscales it, and returns the notes.
        source: The photograph.
        bar: The progress bar, above which the lines are printed.
        told: Whether this process prints them: of several, only one does.

    Returns:
        The failure; None if there is a result.
    """
    from lsr.inference.memory import is_out_of_memory

    try:
        lines = [f"note: {source}: {note}" for note in work()]
        failure = None
    except Exception as error:
        # ValueError: an unreadable file, or a format that cannot hold the result.
        if not isinstance(error, (ValueError, OSError)) and not is_out_of_memory(error):
            raise
        lines = [f"failed: {_failure(source, error)}"]
        failure = error
    if told:
        for line in lines:
            bar.say(line)
    return failure


def upscale_one(
    source: Source,
    kind: str,
    write: Callable[["Photograph", "PictureStream"], None],
    team: "Processes",
    upscaler: "Upscaler",
    options: argparse.Namespace,
    watch: Callable[[float], None],
    text: str,
) -> list[str]:
    """Upscale one photograph.

    Args:
        source: The photograph.
        kind: Format of the result.
        write: Function that writes the result of a photograph; it is called again if memory ran
            out.
        team: Processes that upscale the photograph together; the first one writes.
        upscaler: The model.
        options: The command line.
        watch: Shows the progress.
        text: Text that guides the model.

    Returns:
        Notes for the user.
    """
    from lsr.images import fit_for, not_kept, read_photograph

    with team.together():
        photograph = fit_for(kind, read_photograph(source), background_of(options))
    consume = partial(write, photograph) if team.leads else _compute
    upscaler.process(photograph, options.scale, consume, watch, text, team)
    return not_kept(photograph, kind)


def _write(
    source: Path,
    target: Path,
    options: argparse.Namespace,
    record: "UpscaleRecord",
    photograph: "Photograph",
    picture: "PictureStream",
) -> None:
    """Write a result and, if the options say so, the comparison; record it as finished.

    Args:
        source: File of the input.
        target: File of the result.
        options: The command line.
        record: Record of finished results.
        photograph: The input.
        picture: The result.
    """
    from lsr.images import WRITTEN_FORMATS, write_stream
    from lsr.inference.comparison_page import kept_pixels, write_comparison

    file_format = WRITTEN_FORMATS[target.suffix.lower()]
    if options.save_compare:
        picture, pixels = kept_pixels(picture)
        write_stream(target, picture, file_format, options.quality)
        write_comparison(target, source.name, photograph, pixels)
    else:
        write_stream(target, picture, file_format, options.quality)
    record.add(source, target)


def _compute(picture: "PictureStream") -> None:
    """Compute the part of this process of a picture that process 0 writes."""
    deque(picture.blocks, maxlen=0)


def _failure(source: Source, error: Exception) -> str:
    """Return what an error says, in one line that begins with the photograph's name."""
    from lsr.errors import one_line
    from lsr.inference.memory import is_out_of_memory, shortage

    if isinstance(error, RuntimeError):  # PyTorch ran out of memory
        return f"{source}: {shortage(error)}; choose a smaller --memory"
    message = str(error)
    if message.startswith(f"{source}: "):
        return message
    return f"{source}: {shortage(error) if is_out_of_memory(error) else one_line(error)}"


class Watch:
    """Advances the progress bar by one photograph, part by part.

    Args:
        bar: The progress bar, in megapixels: the time depends on the pixels.
        size: Megapixels of the photograph.
    """

    def __init__(self, bar: "ProgressBar", size: float) -> None:
        self._bar = bar
        self._size = size
        self._share = 0.0

    def __call__(self, share: float) -> None:
        """Show that a share of the photograph is finished.

        The share falls back when memory runs out and the photograph is begun again: the bar waits.
        """
        if share > self._share:
            self._bar.advance((share - self._share) * self._size)
            self._share = share
