"""The suite pictures of `lsr bench`."""

import csv

import pytest
import torch

from lsr.bench import pictures
from lsr.cli import main
from lsr.inference.picture_sampler import PictureSampler


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Return a function that runs the suite on small pictures: exit code and rows."""
    monkeypatch.setattr(pictures, "_SIDES", (16, 72))

    def run():
        code = main(["bench", "pictures", "--seconds", "0", "--out", str(tmp_path)])
        with (tmp_path / "pictures.csv").open() as file:
            return code, list(csv.DictReader(file))

    return run


def test_bands_are_as_exact_as_the_whole_picture_and_both_are_timed(measured):
    code, rows = measured()
    assert code == 0 and [row["LR picture"] for row in rows] == ["24x16"] * 2 + ["108x72"] * 2
    assert all(float(row["s per LR megapixel"]) > 0 for row in rows)


@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_wrong_bands_get_no_time(measured, monkeypatch, error):
    rows_of = PictureSampler.rows
    monkeypatch.setattr(
        PictureSampler, "rows", lambda sampler: (block + error for block in rows_of(sampler))
    )
    code, rows = measured()
    assert code == 1 and not any(row["s per LR megapixel"] for row in rows)
    assert torch.is_grad_enabled()
