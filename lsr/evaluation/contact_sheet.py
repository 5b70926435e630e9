"""`contact.png`: the worst, the median and the best image of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lsr.evaluation.data import Item
from lsr.evaluation.scoring import cropped
from lsr.images import Photograph, read_rgb8, write_png

_SIDE = 512
_GAP = 12
_LETTERS = 18
_LINE = 2 * _LETTERS
_PAPER, _INK = (255, 255, 255), (34, 34, 34)


def extremes(values: Sequence[float], higher_is_better: bool) -> list[tuple[str, int]]:
    """Return the places of the worst, the median and the best of the values that are numbers, with these words; each place once."""
    order = sorted(
        (i for i, value in enumerate(values) if value == value),
        key=lambda i: values[i],
        reverse=not higher_is_better,
    )
    places = (
        {"worst": order[0], "median": order[(len(order) - 1) // 2], "best": order[-1]}
        if order
        else {}
    )
    # A few images can be two of the three.
    return [
        (word, place)
        for word, place in places.items()
        if list(places.values()).index(place) == list(places).index(word)
    ]


def write_contact_sheet(path: Path, rows: Sequence[tuple[str, Item, Mapping[str, Item]]]) -> None:
    """Draw LR, what other methods make of it, SR and HR of each image side by side, each with its name above.

    Of large ones the middle 512 x 512 pixels of the result are shown; what is of another size is enlarged to it by nearest neighbour.

    Args:
        path: The PNG to write.
        rows: A caption, an image, and the same image with the results of other methods, by name.
    """
    font = ImageFont.load_default(_LETTERS)

    def length(text: str) -> int:
        return math.ceil(font.getlength(text))

    drawn = [(_printable(caption), _columns(item, others)) for caption, item, others in rows]
    widths = [
        [max(picture.shape[1], length(label)) + _GAP for label, picture in columns]
        for _, columns in drawn
    ]
    heights = [
        2 * _LINE + max(picture.shape[0] for _, picture in columns) + _GAP for _, columns in drawn
    ]
    width = max(
        max(sum(these), _GAP + length(caption))
        for these, (caption, _) in zip(widths, drawn, strict=True)
    )
    sheet = Image.new("RGB", (width + _GAP, sum(heights) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = 0
    for (caption, columns), these, height in zip(drawn, widths, heights, strict=True):
        pen.text((_GAP, top + _LETTERS // 2), caption, fill=_INK, font=font)
        left = _GAP
        for (label, picture), advance in zip(columns, these, strict=True):
            pen.text((left, top + _LINE), label, fill=_INK, font=font)
            sheet.paste(Image.fromarray(picture), (left, top + 2 * _LINE))
            left += advance
        top += height
    write_png(path, Photograph(np.asarray(sheet, np.float32) / 255))


def _printable(text: str) -> str:
    # A font has nothing for the bytes of a name that is not UTF-8.
    return text.encode(errors="replace").decode()


def _columns(item: Item, others: Mapping[str, Item]) -> list[tuple[str, np.ndarray]]:
    """Return what stands side by side with its names."""
    assert item.sr is not None
    sr = read_rgb8(item.sr)
    height, width = sr.shape[:2]
    files = {"LR (nearest)": item.lr} | {
        name: other.sr for name, other in others.items() if other.sr is not None
    }
    columns = [
        (
            name,
            np.asarray(
                Image.fromarray(read_rgb8(file)).resize((width, height), Image.Resampling.NEAREST)
            ),
        )
        for name, file in files.items()
    ]
    columns.append(("ours" if others else "SR", sr))
    if item.hr is not None:
        columns.append(("HR", cropped(read_rgb8(item.hr), sr, item)))
    top, left = (max(0, side - _SIDE) // 2 for side in (height, width))
    return [
        (_printable(name), np.ascontiguousarray(picture[top : top + _SIDE, left : left + _SIDE]))
        for name, picture in columns
    ]
