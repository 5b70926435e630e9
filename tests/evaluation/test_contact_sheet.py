from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFont

from lsr.evaluation.contact_sheet import extremes, write_contact_sheet
from lsr.evaluation.data import Item

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "higher_is_better", "expected"),
    [
        ([3.0, 1.0, 2.0], True, [("worst", 1), ("median", 2), ("best", 0)]),
        ([3.0, 1.0, 2.0], False, [("worst", 0), ("median", 2), ("best", 1)]),
        ([NAN, 5.0, NAN, 4.0], True, [("worst", 3), ("best", 1)]),
        ([7.0], True, [("worst", 0)]),
        ([NAN], True, []),
    ],
)
def test_worst_median_and_best(values, higher_is_better, expected):
    assert extremes(values, higher_is_better) == expected


@pytest.fixture
def files(tmp_path):
    """Random pictures: LR, two results at scale 4, one at scale 2, and HR, larger than scale 4."""
    rng = np.random.default_rng(0)
    sizes = {"lr": (16, 24), "sr": (64, 96), "theirs": (64, 96), "half": (32, 48), "hr": (66, 97)}
    found = {}
    for name, size in sizes.items():
        found[name] = tmp_path / f"{name}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(found[name])
    return found


def places(sheet, picture):
    """Return the positions (top, left) of a picture in the sheet, from top to bottom."""
    height, width = picture.shape[:2]
    corners = np.argwhere(
        (sheet[: 1 - height or None, : 1 - width or None] == picture[0, 0]).all(-1)
    )
    return [
        (int(y), int(x))
        for y, x in corners
        if np.array_equal(sheet[y : y + height, x : x + width], picture)
    ]


def drawn(tmp_path, *rows):
    write_contact_sheet(tmp_path / "sheet.png", rows)
    return np.asarray(Image.open(tmp_path / "sheet.png"))


def read(path):
    return np.asarray(Image.open(path))


def test_lr_sr_and_hr_stand_side_by_side_pixel_for_pixel(files, tmp_path):
    sheet = drawn(
        tmp_path, *[("first", Item("a", files["lr"], files["hr"], files["sr"], ""), {})] * 2
    )
    enlarged = read(files["lr"]).repeat(4, 0).repeat(4, 1)
    columns = [
        places(sheet, picture)
        for picture in (enlarged, read(files["sr"]), read(files["hr"])[:64, :96])
    ]
    assert [len(column) for column in columns] == [2, 2, 2]
    for (lr_top, lr_left), (sr_top, sr_left), (hr_top, hr_left) in zip(*columns, strict=True):
        assert lr_top == sr_top == hr_top and lr_left < sr_left < hr_left


def test_other_methods_stand_between_lr_and_ours_as_large_as_ours(files, tmp_path):
    item = Item("a", files["lr"], files["hr"], files["sr"], "")
    others = {
        name: Item("a", files["lr"], files["hr"], files[name], "") for name in ("theirs", "half")
    }
    sheet = drawn(tmp_path, ("first", item, others))
    enlarged = [
        read(files[name]).repeat(times, 0).repeat(times, 1)
        for name, times in (("lr", 4), ("theirs", 1), ("half", 2), ("sr", 1))
    ]
    [lr], [theirs], [half], [ours] = (places(sheet, picture) for picture in enlarged)
    assert lr[0] == theirs[0] == half[0] == ours[0] and lr[1] < theirs[1] < half[1] < ours[1]


def test_every_column_has_its_name_above_and_long_names_make_room(files, tmp_path):
    name = "a method of a long name " * 3
    item = Item("a", files["lr"], files["hr"], files["sr"], "")
    sheet = drawn(tmp_path, ("", item, {name: item}))  # no caption: only the names are drawn in ink
    ours = places(sheet, read(files["sr"]))  # the picture of the other method, and ours
    font = ImageFont.load_default(18)
    assert ours[1][1] - ours[0][1] > font.getlength(name)
    lefts = [12, ours[0][1], ours[1][1], sheet.shape[1]]
    for left, right in pairwise(lefts):
        assert (sheet[: ours[0][0], left:right] < 100).any(), "no name above"
