"""`contact.png`: the worst, the median and the best image of an evaluation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lsr.evaluation.data import Item
from lsr.evaluation.scoring import cropped
from lsr.images import Photograph, read_rgb8, write_png

_SIDE = 512
_GAP = 12
_LETTERS = 18
_PAPER, _INK = (255, 255, 255), (34, 34, 34)


def extremes(values: Sequence[float], higher_is_better: bool) -> list[tuple[str, int]]:
    """Return the places of the worst, the median and the best of the values that are numbers, with these words; each place once."""
    order = sorted((i for i, value in enumerate(values) if value == value), key=lambda i: values[i], reverse=not higher_is_better)
    places = {"worst": order[0], "median": order[(len(order) - 1) // 2], "best": order[-1]} if order else {}
    # A few images can be two of the three.
    return [(word, place) for word, place in places.items() if list(places.values()).index(place) == list(places).index(word)]


def write_contact_sheet(path: Path, rows: Sequence[tuple[str, Item]]) -> None:
    """Draw LR (nearest neighbour), SR and HR of each image side by side; of large ones the middle 512 x 512 pixels of the result.

    Args:
        path: The PNG to write.
        rows: A caption and an image.
    """
    pictures = [(caption, _pictures(item)) for caption, item in rows]
    font = ImageFont.load_default(_LETTERS)
    line = 2 * _LETTERS
    heights = [line + max(picture.shape[0] for picture in several) + _GAP for _, several in pictures]
    width = max(
        max(sum(picture.shape[1] + _GAP for picture in several), _GAP + int(font.getlength(caption))) for caption, several in pictures
    )
    sheet = Image.new("RGB", (width + _GAP, sum(heights) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = 0
    for (caption, several), height in zip(pictures, heights, strict=True):
        pen.text((_GAP, top + _LETTERS // 2), caption, fill=_INK, font=font)
        left = _GAP
        for picture in several:
            sheet.paste(Image.fromarray(picture), (left, top + line))
            left += picture.shape[1] + _GAP
        top += height
    write_png(path, Photograph(np.asarray(sheet, np.float32) / 255))


def _pictures(item: Item) -> list[np.ndarray]:
    assert item.sr is not None
    sr, lr = read_rgb8(item.sr), read_rgb8(item.lr)
    height, width = sr.shape[:2]
    enlarged = np.asarray(Image.fromarray(lr).resize((width, height), Image.Resampling.NEAREST))
    several = [enlarged, sr]
    if item.hr is not None:
        several.append(cropped(read_rgb8(item.hr), sr, item))
    top, left = (max(0, side - _SIDE) // 2 for side in (height, width))
    return [np.ascontiguousarray(picture[top : top + _SIDE, left : left + _SIDE]) for picture in several]
