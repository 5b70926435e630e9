"""Validation on real photographs without ground truth, beside the pairs."""

import csv

import pytest
import yaml
from PIL import Image
from support.processes import TINY_STAGE1
from support.small_run import SMALL, finish

from lsr.cli import main

KNEE = {"val/psnr_y": "max", "val_real/niqe": "min"}
SIDES = [(24, 40), (30, 24), (64, 80)]  # of SR 96 x 160, 120 x 96, and more than what is looked at


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Three low-resolution photographs of different sizes."""
    from skimage import data

    folder = tmp_path_factory.mktemp("real")
    for i, (height, width) in enumerate(SIDES):
        Image.fromarray(data.chelsea()).resize((width, height)).save(folder / f"{i}.png")
    return folder


def arguments(folder, real, knee=KNEE, **options):
    config = yaml.safe_load(TINY_STAGE1.read_text())
    callback = next(
        each
        for each in config["trainer"]["callbacks"]
        if each["class_path"].endswith("KneePointCallback")
    )
    callback["init_args"]["metrics"] = knee
    config["model"]["val_metrics"] = ["psnr_y", "niqe"]
    config["data"]["init_args"] |= {"val_real": str(real), "val_real_size": 192}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(config))
    settings = (
        SMALL
        | {
            "data.init_args.val_crop_size": 96,
            "trainer.max_steps": 3,
            "trainer.default_root_dir": folder / "run",
        }
        | options
    )
    flat = [str(part) for key, value in settings.items() for part in (f"--{key}", value)]
    return ["fit", "--config", str(folder / "experiment.yaml"), *flat]


def last_row(folder):
    *_, row = csv.DictReader((folder / "run" / "metrics.csv").open())
    return row


def test_real_photographs_have_curves_and_pictures_of_their_own(tmp_path, real):
    assert main(arguments(tmp_path, real)) == 0
    row = last_row(tmp_path)
    assert 0 < float(row["val_real/niqe"]) != float(row["val/niqe"])
    assert row["step"] == "3" and float(row["knee/val_real/niqe/smoothed"]) == pytest.approx(
        float(row["val_real/niqe"])
    )
    assert not {"val_real/psnr_y", "val_real/loss", "val_real/psnr_y_bicubic"} & row.keys(), (
        "there is nothing to compare with"
    )
    with Image.open(
        tmp_path / "run" / "images" / "real-step-0000003.png"
    ) as grid:  # LR | bicubic | SR of the three, the largest cut
        assert grid.size == (3 * 196 + 4, 3 * 196 + 4)


def test_real_photographs_are_shared_by_the_ranks(tmp_path, real):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert main(arguments(tmp_path / "one", real)) == 0
    finish(
        arguments(tmp_path / "two", real, **{"trainer.devices": 2, "data.init_args.batch_size": 1})
    )
    one, two = last_row(tmp_path / "one"), last_row(tmp_path / "two")
    for name in ("val/psnr_y", "val_real/niqe"):
        assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-4)


def test_real_photographs_need_a_metric_without_reference(tmp_path, real, capsys):
    command = arguments(
        tmp_path, real, {"val/psnr_y": "max"}, **{"model.val_metrics": "[psnr_y, ssim_y]"}
    )
    assert main(command) == 2
    assert (
        "psnr_y, ssim_y need HR photographs, and there are none: add a metric without reference"
        in capsys.readouterr().err
    )
