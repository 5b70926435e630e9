import numpy as np
import pytest
from PIL import Image

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


def test_lr_sr_and_hr_stand_side_by_side_pixel_for_pixel(tmp_path):
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (size, size + 8, 3), dtype=np.uint8) for name, size in (("lr", 16), ("sr", 64), ("hr", 66))}
    pictures["sr"] = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    pictures["hr"] = rng.integers(0, 256, (66, 97, 3), dtype=np.uint8)
    files = {}
    for name, picture in pictures.items():
        files[name] = tmp_path / f"{name}.png"
        Image.fromarray(picture).save(files[name])
    write_contact_sheet(tmp_path / "sheet.png", [("first", Item("a", files["lr"], files["hr"], files["sr"], ""))] * 2)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    enlarged = pictures["lr"].repeat(4, 0).repeat(4, 1)
    middle = np.full((64, 12, 3), 255, np.uint8)
    row = np.concatenate([enlarged, middle, pictures["sr"], middle, pictures["hr"][:64, :96]], 1)
    tops = [y for y in range(sheet.shape[0] - 64) if np.array_equal(sheet[y : y + 64, 12 : 12 + row.shape[1]], row)]
    assert len(tops) == 2
