"""Data that do not fit the model are reported in one line before training."""

from dataclasses import replace
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from support.processes import TINY_STAGE1
from support.small_run import SMALL
from support.tiny import TINY, SyntheticPairs

from datamodules import PairedDataModule, RealESRGANDataModule
from lsr.cli import main
from lsr.training.batch_data import check_data
from lsr.training.module import LinearSRModule

SINGLE = replace(TINY, context_dim=0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data.init_args.scale", 2, "the data have scale 2, but the model enlarges 4 times"),
        ("data.init_args.train", "null", "data.init_args.train must be a list of folders"),
        ("data.init_args.train", "photos", "train: must be a list such as [a, b], not photos"),
        (
            "data.init_args.crop_size",
            20,
            "whole tokens of 8 pixels: set data.init_args.crop_size 1",
        ),
    ],
)
def test_the_command_reports_it_in_one_line(tmp_path, capsys, name, value, message):
    settings = SMALL | {"trainer.default_root_dir": tmp_path / "run", name: value}
    options = [f"--{key}={value}" for key, value in settings.items()]
    assert main(["fit", "--config", str(TINY_STAGE1), *options]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lsr ")]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("data", [RealESRGANDataModule(scale=2), PairedDataModule(scale=2)])
def test_every_data_module_declares_its_scale(data):
    model = LinearSRModule(SINGLE).denoiser
    with pytest.raises(ValueError, match=r"set data.init_args.scale 4, or model.denoiser.scale 2"):
        check_data(SimpleNamespace(datamodule=data), model, "validate")
    check_data(SimpleNamespace(datamodule=data), model, "predict")
    check_data(SimpleNamespace(datamodule=object()), model, "fit")


@pytest.mark.parametrize("data", [RealESRGANDataModule, PairedDataModule])
def test_crops_of_whole_tokens_fit(data):
    model = LinearSRModule(replace(SINGLE, patch_size=8)).denoiser
    for wrong, right in ((20, "16 or 24"), (4, "8")):
        with pytest.raises(ValueError, match=f"crop_size {right}$"):
            check_data(SimpleNamespace(datamodule=data(crop_size=wrong)), model, "fit")
    check_data(SimpleNamespace(datamodule=data(crop_size=16)), model, "fit")
    check_data(SimpleNamespace(datamodule=data(crop_size=20)), model, "test")


@pytest.mark.parametrize("sanity", [0, 1])
def test_batches_of_loaders_of_ones_own_are_checked(sanity):
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        max_steps=1,
        num_sanity_val_steps=sanity,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    pairs = torch.utils.data.DataLoader(SyntheticPairs(), batch_size=2)
    with pytest.raises(ValueError, match="16 x 16 pixels for LR images of 4 x 4, .* 2 times"):
        trainer.fit(LinearSRModule(replace(SINGLE, scale=2)), pairs, pairs)
    assert trainer.global_step == 0
