"""Experts that are trained one by one and merged equal experts that are trained in one run."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.knee_folder import SMALL, publish_knee
from support.stage2_run import fit

from datamodules import RealESRGANDataModule
from lsr.cli import main
from lsr.experts.config import ExpertsConfig
from lsr.knee.folder import sha256_of
from lsr.models.checkpoint import EMA_STATE, read_model
from lsr.training.module import LinearSRModule
from lsr.training.optimizer import OptimizerConfig

TURNS = 3  # steps of each expert


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48)).save(
            folder / f"{i}.png"
        )
    return str(folder)


@pytest.fixture(scope="module")
def knee(tmp_path_factory):
    return str(publish_knee(tmp_path_factory.mktemp("stage1")))


def train(folder, photographs, seed, steps, ckpt_path=None, **experts):
    data = RealESRGANDataModule(
        [photographs], [photographs], crop_size=32, val_crop_size=32, batch_size=2, num_workers=0
    )
    config = ExpertsConfig(seed, **experts)
    module = LinearSRModule(
        SMALL,
        OptimizerConfig(lr=1e-2, warmup_steps=2),
        6.0,
        experts=config,
        val_metrics=("psnr_y",),
    )
    fit(folder, module, steps, ckpt_path, data, accumulate_grad_batches=2)
    return folder


@pytest.fixture(scope="module")
def alone(photographs, knee, tmp_path_factory):
    root = tmp_path_factory.mktemp("alone")
    return [train(root / str(i), photographs, knee, TURNS, expert=i) for i in range(4)]


def merge(out, *runs):
    return main(["merge-experts", *map(str, runs), "--out", str(out)])


def test_one_by_one_gives_the_experts_of_one_run_bit_for_bit(
    alone, photographs, knee, tmp_path, capsys
):
    train(tmp_path / "together", photographs, knee, 4 * TURNS)
    assert merge(tmp_path / "model.safetensors", *reversed(alone)) == 0
    assert (
        "4 experts; optimiser steps: 0 after 3, 1 after 3, 2 after 3, 3 after 3"
        in capsys.readouterr().out
    )
    merged, together = (
        read_model(path)
        for path in (tmp_path / "model.safetensors", tmp_path / "together/checkpoints/last.ckpt")
    )
    assert merged[1:] == together[1:] and merged.weights.keys() == together.weights.keys()
    assert all(
        torch.equal(weight, together.weights[name]) for name, weight in merged.weights.items()
    )
    seed = load_file(f"{knee}/seed.safetensors")
    assert not any(
        torch.equal(weight, seed[name.split(".", 2)[2]]) for name, weight in merged.weights.items()
    ), "all were trained"


def test_the_others_stay_the_knee_and_cost_neither_averages_nor_moments(alone, knee):
    checkpoint, seed = (
        torch.load(alone[2] / "checkpoints/last.ckpt", weights_only=True),
        load_file(f"{knee}/seed.safetensors"),
    )
    assert {name.split(".")[2] for name in checkpoint[EMA_STATE]} == {"2"}
    assert len(checkpoint["optimizer_states"][0]["state"]) == len(seed)
    for name, weight in checkpoint["state_dict"].items():
        _, _, expert, rest = name.split(".", 3)
        assert torch.equal(weight, seed[rest]) == (expert != "2"), name


def test_a_resumed_run_of_one_expert_is_the_unbroken_one(alone, photographs, knee, tmp_path):
    train(tmp_path, photographs, knee, 2, expert=1)
    last = tmp_path / "checkpoints" / "last.ckpt"
    train(tmp_path, photographs, "the knee is not looked at again", TURNS, last, expert=1)
    one, other = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
        for folder in (alone[1], tmp_path)
    )
    for key in ("state_dict", EMA_STATE):
        assert all(torch.equal(weight, other[key][name]) for name, weight in one[key].items())
    assert one["expert_run"] == other["expert_run"] and one["expert_run"]["seed_sha256"]
    with pytest.raises(
        ValueError, match="of a run of expert 1 alone, but this run trains all experts"
    ):
        train(tmp_path, photographs, knee, 9, last)


def refusal(capsys, tmp_path, *runs):
    assert merge(tmp_path / "model.safetensors", *runs) == 2
    assert not (tmp_path / "model.safetensors").exists()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_each_expert_is_needed_once(alone, capsys, tmp_path):
    assert "each expert from 0 to 3 once; these are runs of experts 0, 1, 2" in refusal(
        capsys, tmp_path, *alone[:3]
    )
    assert "each expert from 0 to 3 once; these are runs of experts 0, 1, 2, 2" in refusal(
        capsys, tmp_path, *alone[:3], alone[2]
    )


def test_experts_of_another_knee_or_model_are_refused(alone, photographs, knee, tmp_path, capsys):
    deeper = publish_knee(tmp_path, replace(SMALL, depth=2))
    stranger = tmp_path / "stranger"
    shutil.copytree(alone[3], stranger)
    checkpoint = torch.load(stranger / "checkpoints/last.ckpt", weights_only=True)
    checkpoint["expert_run"]["seed_sha256"] = sha256_of(deeper / "seed.safetensors")
    torch.save(checkpoint, stranger / "checkpoints/last.ckpt")
    assert "were trained from different knees" in refusal(capsys, tmp_path, *alone[:3], stranger)
    elsewhere = train(tmp_path / "elsewhere", photographs, knee, 1, expert=3, boundaries="uniform")
    message = refusal(capsys, tmp_path, *alone[:3], elsewhere)
    assert (
        "boundaries [0.25, 0.5, 0.75], not [0.223, 0.875, 0.939]" in message
        and "width" not in message
    )


def test_what_was_not_trained_alone_is_refused(photographs, knee, tmp_path, capsys):
    together = train(tmp_path / "together", photographs, knee, 1)
    assert "did not train one expert alone" in refusal(capsys, tmp_path, together)
    assert "no such checkpoint" in refusal(capsys, tmp_path, tmp_path / "nothing")
    assert main(["merge-experts", str(together), "--out", str(tmp_path / "model.ckpt")]) == 2
