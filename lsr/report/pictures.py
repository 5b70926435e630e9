"""The section of pictures: what the model made of the same photographs, step by step."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from lsr.images import UnreadableImage, read_rgb8
from lsr.report.finding import Finding
from lsr.report.markup import heading, number, paragraphs, text
from lsr.report.run_files import RunFiles, noting

_QUALITY = 82
"""Quality of the WebP pictures."""

_ATTEMPTS = ((16, 1600), (10, 1600), (6, 1200), (6, 800), (3, 800), (1, 400))
"""Number of steps and largest width in pixels, from the best to the smallest."""

_MOST_VALUES = 4
"""Metrics in the caption of a picture, at most."""


class _Series(NamedTuple):
    """Pictures of the same things at several steps.

    Attributes:
        title: What they show.
        files: Names of the files, as a pattern of `Path.glob`.
        metrics: Beginning of the names of metrics that belong to them.
    """

    title: str
    files: str
    metrics: str


_SERIES = (
    _Series(
        "Validation photographs: LR, bicubic, SR and HR from the left",
        "images/step-*.png",
        "val/",
    ),
    _Series(
        "Real photographs: LR, bicubic and SR from the left", "images/real-step-*.png", "val_real/"
    ),
)

_BY_TIME = _Series(
    "Loss of the experts and of the knee over the flow time",
    "experts/step-*.png",
    "val/loss_expert",
)
"""Figures of a run that has not recorded their numbers."""


def pictures_section(run: RunFiles, finding: Finding, room: int) -> str:
    """Return the pictures of a run with a slider over the steps; "" if there are none.

    Args:
        run: The run.
        finding: The verdict on it, whose knee is among the pictures.
        room: Characters that the section may have. Pictures are scaled down or left out to fit.
    """
    wanted = [*_SERIES, *([] if run.loss_by_time else [_BY_TIME])]
    found = {series: _by_step(run.folder, series.files) for series in wanted}
    found = {series: files for series, files in found.items() if files}
    return "".join(
        _slider(series, files, run, finding, room // len(found)) for series, files in found.items()
    )


def _by_step(folder: Path, pattern: str) -> dict[int, Path]:
    """Return the pictures by increasing step."""
    found = {}
    for path in folder.glob(pattern):
        match = re.fullmatch(r"(?:real-)?step-(\d{1,18})\.png", path.name)
        if match is not None:
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def _slider(
    series: _Series, files: Mapping[int, Path], run: RunFiles, finding: Finding, room: int
) -> str:
    """Return the pictures of a series, of which a script shows one at a time."""
    most, width = _attempt(files[max(files)], room)
    figures = []
    for step in chosen_steps(list(files), most, finding.knee):
        with noting(run.notices):
            picture = data_uri(files[step], width)
            if len(picture) <= room:
                room -= len(picture)
                figures.append(_figure(series, step, picture, run, finding))
    if not figures:
        return paragraphs([f"{series.title}: no picture can be shown in a file of this size."])
    told = f"{len(figures)} of {len(files)} steps are shown, at most {width:,} pixels wide."
    label = text(f"step of: {series.title}")
    return (
        f'{heading(series.title)}<p class="quiet">{told}</p><div class="steps">'
        f'<label hidden><span>step</span><input type="range" min="0" step="1" aria-label="{label}">'
        f"<output></output></label>{''.join(figures)}</div>"
    )


def _attempt(path: Path, room: int) -> tuple[int, int]:
    """Return how many pictures like this one fit into `room` characters, and how wide."""
    for most, width in _ATTEMPTS:
        try:
            if most * len(data_uri(path, width)) <= room:
                return most, width
        except (UnreadableImage, OSError):
            break  # another one of the series may be whole
    return _ATTEMPTS[-1]


def chosen_steps(steps: Sequence[int], most: int, knee: int | None) -> list[int]:
    """Return at most `most` of increasing steps, evenly spread, with the last and the knee."""
    last = len(steps) - 1
    if last < most:
        return list(steps)
    chosen = {steps[last - i * last // max(1, most - 1)] for i in range(most)}
    if knee is not None and knee in steps and knee not in chosen and most > 1:
        nearest = min(chosen - {steps[last]}, key=lambda step: abs(step - knee))
        chosen = chosen - {nearest} | {knee}
    return sorted(chosen)


def data_uri(path: Path, width: int) -> str:
    """Return a picture as WebP inside a data URI, at most `width` pixels wide.

    Raises:
        UnreadableImage: The file is not an image.
    """
    picture = Image.fromarray(read_rgb8(path))
    picture.thumbnail((width, 2 * width), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _figure(series: _Series, step: int, picture: str, run: RunFiles, finding: Finding) -> str:
    """Return a picture with its step and the metrics of this step."""
    where = f"step {step:,}{', the knee' if step == finding.knee else ''}"
    names = [
        name
        for name, curve in run.curves.items()
        if name.startswith(series.metrics) and step in curve and not name.endswith("_bicubic")
    ]
    values = [f"{name} {number(run.curves[name][step])}" for name in names[:_MOST_VALUES]]
    caption = text(", ".join([where, *values]))
    return (
        f'<figure data-step="{text(where)}"><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{text(where)}"><img src="{picture}" '
        f'alt="{text(series.title)}, at {text(where)}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
