"""Draw `contact.png`, the worst, the median and the best image of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lsr.evaluation.data import Item
from lsr.evaluation.scoring import cropped
from lsr.images import Photograph, read_rgb8, write_png

_SIDE = 512
"""Largest side of a picture in pixels."""

_GAP = 12
"""Pixels between two pictures."""

_FONT_SIZE = 18
_LINE = 2 * _FONT_SIZE
_PAPER = (255, 255, 255)
_INK = (34, 34, 34)

_Columns = list[tuple[str, np.ndarray]]
"""Labels and pictures (H, W, 3) uint8 of one row of the sheet, from left to right."""


def extremes(values: Sequence[float], higher_is_better: bool) -> list[tuple[str, int]]:
    """Return the indices of the worst, the median and the best value, without repetition.

    Args:
        values: Values, of which NaN is ignored.
        higher_is_better: Whether a higher value is better.

    Returns:
        Pairs of "worst", "median" or "best" and an index. Of fewer than three values, some have
        two roles; each index appears once, under the first of its roles.
    """
    order = sorted(
        (i for i, value in enumerate(values) if not math.isnan(value)),
        key=lambda i: values[i],
        reverse=not higher_is_better,
    )
    if not order:
        return []
    roles: dict[int, str] = {}
    middle = (len(order) - 1) // 2
    for role, index in (("worst", order[0]), ("median", order[middle]), ("best", order[-1])):
        roles.setdefault(index, role)
    return [(role, index) for index, role in roles.items()]


def write_contact_sheet(path: Path, rows: Sequence[tuple[str, Item, Mapping[str, Item]]]) -> None:
    """Draw each image as a row: LR, the results of other methods, the result, and HR.

    Every picture has its name above it. Of large images the middle 512 x 512 pixels of the result
    are drawn. A picture of another size is resized to the size of the result by nearest neighbour.

    Args:
        path: The PNG to write.
        rows: A caption, an image, and the same image with the results of other methods, by method.
    """
    font = ImageFont.load_default(_FONT_SIZE)

    def length(text: str) -> int:
        return math.ceil(font.getlength(text))

    drawn = [(_printable(caption), _columns(item, others)) for caption, item, others in rows]
    widths = [
        [max(picture.shape[1], length(label)) + _GAP for label, picture in columns]
        for _, columns in drawn
    ]
    captions = [_GAP + length(caption) for caption, _ in drawn]
    heights = [_height(columns) for _, columns in drawn]
    width = max(max(sum(row), caption) for row, caption in zip(widths, captions, strict=True))
    sheet = Image.new("RGB", (width + _GAP, sum(heights) + _GAP), _PAPER)
    top = 0
    for (caption, columns), advances, height in zip(drawn, widths, heights, strict=True):
        _draw_row(sheet, font, top, caption, columns, advances)
        top += height
    write_png(path, Photograph(np.asarray(sheet, np.float32) / 255))


def _height(columns: _Columns) -> int:
    """Return the height of a row: caption, labels, and the highest picture."""
    return 2 * _LINE + max(picture.shape[0] for _, picture in columns) + _GAP


def _draw_row(
    sheet: Image.Image,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    top: int,
    caption: str,
    columns: _Columns,
    advances: Sequence[int],
) -> None:
    """Draw a row of the sheet.

    Args:
        sheet: The sheet.
        font: Font of caption and labels.
        top: Upper edge of the row in pixels.
        caption: Text above the row.
        columns: Labels and pictures.
        advances: Distance in pixels from each column to the next.
    """
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, top + _FONT_SIZE // 2), caption, fill=_INK, font=font)
    left = _GAP
    for (label, picture), advance in zip(columns, advances, strict=True):
        pen.text((left, top + _LINE), label, fill=_INK, font=font)
        sheet.paste(Image.fromarray(picture), (left, top + 2 * _LINE))
        left += advance


def _printable(text: str) -> str:
    """Replace the bytes of a file name that are not UTF-8, which no font can draw."""
    return text.encode(errors="replace").decode()


def _columns(item: Item, others: Mapping[str, Item]) -> _Columns:
    """Return the labels and the pictures of one row.

    Args:
        item: The image.
        others: The same image with the results of other methods, by method.
    """
    assert item.sr is not None
    sr = read_rgb8(item.sr)
    height, width = sr.shape[:2]
    files = {"LR (nearest)": item.lr}
    files |= {name: other.sr for name, other in others.items() if other.sr is not None}
    columns = [(name, _resized(file, width, height)) for name, file in files.items()]
    columns.append(("ours" if others else "SR", sr))
    if item.hr is not None:
        columns.append(("HR", cropped(read_rgb8(item.hr), sr, item)))
    top, left = (max(0, side - _SIDE) // 2 for side in (height, width))
    return [
        (_printable(name), np.ascontiguousarray(picture[top : top + _SIDE, left : left + _SIDE]))
        for name, picture in columns
    ]


def _resized(file: Path, width: int, height: int) -> np.ndarray:
    """Return an image file as (height, width, 3) uint8, resized by nearest neighbour."""
    image = Image.fromarray(read_rgb8(file))
    return np.asarray(image.resize((width, height), Image.Resampling.NEAREST))
