"""The preview of a degradation: a photograph next to LR images of it, with parameters in words."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lsr.degradations.parameters import DegradationParameters, Kernel, Stage

NOTE = (
    "Stage 1 resizes relative to the photograph, stage 2 relative to the LR. Noise: standard "
    "deviation in 8-bit levels; of Poisson noise at mid grey, and more where an image has few "
    "levels."
)
"""Explanation of the captions."""

_MIN_CELL = 192
_GAP = 12
_PAPER = (255, 255, 255)
_INK = (34, 34, 34)
_LETTERS_PER_CELL = 36  # determines the font size
_FONT_SIZES = (13, 30)
_MAX_PIXELS = 100_000_000

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def describe(parameters: DegradationParameters) -> list[str]:
    """Return the drawn parameters in words, in the order in which they are applied.

    Noise is given by its standard deviation in 8-bit levels. For Poisson noise it depends on the
    image; the value is that at mid grey in an image of more than 128 levels.
    """
    if parameters.identity:
        return ["bicubic reduction, nothing else"]
    lines = [f"1: {_stage(parameters.first)}; JPEG {parameters.quality_1:.0f}"]
    if parameters.second:
        lines.append(f"2: {_stage(parameters.second)}")
    to_size = [f"resize to LR {parameters.final_mode}"]
    if parameters.final_sinc:
        to_size.append(_kernel(parameters.final_sinc))
    jpeg = [f"JPEG {parameters.quality_2:.0f}"]
    last = to_size + jpeg if parameters.jpeg_last else jpeg + to_size
    return [*lines, f"end: {'; '.join(last)}"]


def _stage(stage: Stage) -> str:
    blur = f"blur {_kernel(stage.kernel)}" if stage.kernel else "no blur"
    # Poisson(v k / 255) / v has the variance (k / 255) / v; mid grey is k / 255 = 0.5, and v = 256.
    level = 255 * stage.amount * (1 if stage.noise == "gaussian" else math.sqrt(0.5 / 256))
    noise = f"{stage.noise} {level:.1f} {'grey' if stage.grey else 'colour'}"
    return f"{blur}; resize x{stage.factor:.2f} {stage.mode}; {noise}"


def _kernel(kernel: Kernel) -> str:
    name = f"{kernel.family.replace('_', ' ')} {kernel.size} px"
    if kernel.family == "sinc":
        return f"{name}, cut-off {kernel.cutoff:.2f} rad/px"
    shape = "" if kernel.family in ("iso", "aniso") else f", beta {kernel.beta:.2f}"
    if kernel.family.endswith("aniso"):
        sigma = f"sigma {kernel.sigma_x:.2f} x {kernel.sigma_y:.2f}"
        return f"{name}, {sigma}, {math.degrees(kernel.theta):.0f}°{shape}"
    return f"{name}, sigma {kernel.sigma_x:.2f}{shape}"


def wrap(text: str, font: Font, width: float) -> list[str]:
    """Break a paragraph into lines of at most `width` pixels.

    Lines end between words; a word that is longer than a line is broken anywhere.

    Args:
        text: The paragraph.
        font: Font of the lines.
        width: Width in pixels, at least that of the widest letter.
    """
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".lstrip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line]


def draw_grid(
    title: str,
    hr: np.ndarray,
    hr_caption: str,
    lrs: Sequence[np.ndarray],
    captions: Sequence[Sequence[str]],
) -> np.ndarray:
    """Draw a photograph and LR images of it in a grid, each with its caption below.

    The LR images are enlarged to the size of the photograph by nearest neighbour. If captions need
    more width, all pictures are enlarged by the same whole factor.

    Args:
        title: Paragraph above the grid.
        hr: Photograph (scale h, scale w, 3) uint8.
        hr_caption: Paragraph below the photograph.
        lrs: LR images, each (h, w, 3) uint8.
        captions: Paragraphs below each LR image.

    Returns:
        Picture of the grid (H, W, 3) uint8.

    Raises:
        ValueError: The grid would have more than 100 million pixels.
    """
    zoom = math.ceil(_MIN_CELL / hr.shape[1])
    height, width = hr.shape[0] * zoom, hr.shape[1] * zoom
    font, line_height = _font(width)
    texts = [
        [line for paragraph in caption for line in wrap(paragraph, font, width)]
        for caption in ([hr_caption], *captions)
    ]
    columns = math.ceil(math.sqrt(len(texts)))
    canvas_width = _GAP + columns * (width + _GAP)
    title_lines = wrap(title, font, canvas_width - 2 * _GAP)
    starts = range(0, len(texts), columns)
    rows = [range(start, min(start + columns, len(texts))) for start in starts]
    most_lines = [max(len(texts[cell]) for cell in row) for row in rows]
    row_heights = [height + line_height * lines + 2 * _GAP for lines in most_lines]
    canvas_height = 2 * _GAP + line_height * len(title_lines) + sum(row_heights)
    if canvas_width * canvas_height > _MAX_PIXELS:
        raise ValueError(
            f"the picture would have {canvas_width} x {canvas_height} pixels, too many: choose a "
            "smaller --crop or --n"
        )

    canvas = Image.new("RGB", (canvas_width, canvas_height), _PAPER)
    pen = ImageDraw.Draw(canvas)
    _write(pen, title_lines, _GAP, _GAP, font, line_height)
    top = 2 * _GAP + line_height * len(title_lines)
    for row, row_height in zip(rows, row_heights, strict=True):
        for column, cell in enumerate(row):
            left = _GAP + column * (width + _GAP)
            picture = Image.fromarray(lrs[cell - 1] if cell else hr)
            canvas.paste(picture.resize((width, height), Image.Resampling.NEAREST), (left, top))
            _write(pen, texts[cell], left, top + height + _GAP // 2, font, line_height)
        top += row_height
    return np.asarray(canvas)


def _font(width: int) -> tuple[Font, int]:
    """Return a font for captions of cells of a width in pixels, and the height of its lines."""
    # A letter is about half as wide as the font is high.
    size = min(max(2 * width // _LETTERS_PER_CELL, _FONT_SIZES[0]), _FONT_SIZES[1])
    font = ImageFont.load_default(size)
    if isinstance(font, ImageFont.FreeTypeFont):
        return font, math.ceil(1.1 * sum(font.getmetrics()))
    return font, 14


def _write(
    pen: ImageDraw.ImageDraw,
    lines: Sequence[str],
    left: int,
    top: int,
    font: Font,
    line_height: int,
) -> None:
    for number, line in enumerate(lines):
        pen.text((left, top + number * line_height), line, fill=_INK, font=font)
