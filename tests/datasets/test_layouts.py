"""Data sets of LR and HR photographs in the layouts that are published."""

import numpy as np
import pytest
from PIL import Image

from datamodules import PairedDataModule, RealLQDataModule
from datamodules.file_index import resolve_paths
from lsr.cli import main
from lsr.datasets.layouts import find_layout
from lsr.datasets.paired_folders import find_pairs

LAYOUTS = {
    "DIV2K": ("DIV2K_valid_LR_bicubic/X4/0801x4.png", "DIV2K_valid_HR/0801.png"),
    "DIV2K mild": ("DIV2K_valid_LR_mild/0801x4m.png", "DIV2K_valid_HR/0801.png"),
    "EDSR": ("LR_bicubic/X4/babyx4.png", "HR/baby.png"),
    "BasicSR": ("LRbicx4/baby.png", "GTmod12/baby.png"),
    "BasicSR's script": ("LR/x4/baby.png", "HR/x4/baby.png"),
    "SelfExSR": ("image_SRF_4/img_001_SRF_4_LR.png", "image_SRF_4/img_001_SRF_4_HR.png"),
    "RealSR": ("Canon_001_LR4.png", "Canon_001_HR.png"),
    "DRealSR": ("test_LR/P1_x4.png", "test_HR/P1_x1.png"),
    "StableSR": ("lq/0801_pch_00001.png", "gt/0801_pch_00001.png"),
    "hub": ("Set5_LR_x4/baby.png", "Set5_HR/baby.png"),
}


@pytest.fixture(params=LAYOUTS)
def dataset(tmp_path, photo, request):
    """A data set of one pair, with a folder of another scale where the layout has one."""
    lr, hr = LAYOUTS[request.param]
    folder = tmp_path / "dataset"
    for name, pixels in ((lr, photo[:64:4, :64:4]), (hr, photo[:64, :64])):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name)
    for four, two in (
        ("X4", "X2"),
        ("SRF_4", "SRF_2"),
        ("bicx4", "bicx2"),
        ("LR_x4", "LR_x2"),
        ("LR/x4", "LR/x2"),
    ):
        other = folder / lr.replace(four, two)
        if not other.exists():
            other.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(photo[:64:2, :64:2])).save(other)
    return folder, folder / lr, folder / hr


def test_training_and_validation_find_the_pairs(dataset):
    folder, lr, hr = dataset
    data = PairedDataModule(train=str(folder), val=str(folder), crop_size=32)
    layout = find_layout(folder, 4)
    assert layout is not None and find_pairs(*layout) == [(lr, hr)]
    data.setup("fit")
    assert data._fixed["val"].pairs == [(lr, hr)] == data._training.pairs


def test_an_evaluation_takes_lr_for_lr(dataset, tmp_path, model, capsys):
    folder, lr, _ = dataset
    command = ["eval", "--data", str(folder), "--model", str(model), "--metrics", "psnr"]
    assert main([*command, "--threads", "1", "--out", str(tmp_path / "out")]) == 0
    assert "1 of 1 images scored" in capsys.readouterr().out
    (result,) = (tmp_path / "out" / "predictions").rglob("*.png")
    assert result.stem == lr.stem and Image.open(result).size == (64, 64)


def test_real_photographs_are_no_pairs(dataset):
    with pytest.raises(ValueError, match="LR and (the )?HR "):
        RealLQDataModule(str(dataset[0])).setup("validate")


@pytest.mark.parametrize("dataset", ["DIV2K", "EDSR", "StableSR"], indirect=True)
def test_training_takes_hr_and_upscaling_lr_of_a_folder_of_pairs(
    dataset, tmp_path, model, capsys, caplog
):
    folder, lr, hr = dataset
    assert resolve_paths(str(folder)) == [hr]
    assert "LR photographs of pairs: " in caplog.text
    command = ["upscale", str(folder), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert (tmp_path / "out" / lr.relative_to(folder)).exists()
    assert not (tmp_path / "out" / hr.relative_to(folder)).exists()
    assert "HR photographs of pairs: 1 left out" in caplog.text


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["D_HR/a.png", "D_LR_bicubic/X4/a.png", "D_LR_unknown/X4/a.png"],
            r"several LR folders fit \(D_LR_bicubic/X4, D_LR_unknown/X4\): name the LR and the HR",
        ),
        (["D_HR/a.png", "E_LR/a.png"], "in a layout that is not known: name the folder"),
        (["Canon/4/a_HR.png", "Canon/4/a_LR4.png"], "in a layout that is not known"),
    ],
)
def test_a_mixture_is_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        find_layout(files(tmp_path, *names), 4)


@pytest.mark.parametrize(
    "names",
    [
        ["a.png", "deep/b.png"],
        ["lq/a.png"],
        ["HR/a.png", "HR/b_HR.png"],
        ["Verkehr/a.png", "Jahr_lr_2/b.png", "bulgt/c.png"],
    ],
)
def test_other_folders_are_no_data_sets(tmp_path, names):
    assert find_layout(files(tmp_path, *names), 4) is None


def test_without_a_scale_a_single_lr_folder_is_taken_and_one_of_several_is_not(tmp_path):
    files(tmp_path, "HR/a.png", "LR_bicubic/X2/ax2.png")
    assert find_layout(tmp_path, None) == (tmp_path / "LR_bicubic" / "X2", tmp_path / "HR")
    files(tmp_path, "LR_bicubic/X4/ax4.png")
    with pytest.raises(ValueError, match="several LR folders fit"):
        find_layout(tmp_path, None)


def test_an_hr_photograph_that_is_no_multiple_of_the_scale_is_cut_everywhere(
    tmp_path, photo, model, capsys
):
    hr = np.tile(photo, (3, 3, 1))[:250, :361]
    for name, pixels in (("HR", hr), ("LR", hr[:248:4, :360:4])):
        (tmp_path / name).mkdir()
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / name / "a.png")
    data = PairedDataModule(train=str(tmp_path), val=str(tmp_path), crop_size=32)
    data.setup("fit")
    assert data._fixed["val"][0]["hr"].shape == (3, 248, 360)
    assert data._training[0, 0]["hr"].shape == (3, 32, 32)
    command = ["eval", "--data", str(tmp_path), "--model", str(model), "--metrics", "psnr"]
    assert main([*command, "--threads", "1", "--out", str(tmp_path.with_name("out"))]) == 0
    assert "1 of 1 images scored" in capsys.readouterr().out
