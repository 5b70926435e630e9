"""The script that makes the crops of the embedded model's teacher, with a quick teacher."""

import sys

import numpy as np
from PIL import Image
from support.experiment_scripts import experiment_script

from datamodules.paired import PairedDataModule, PhotographPairs


def test_its_crops_are_data_of_stage_3_and_are_made_once(tmp_path, monkeypatch):
    script = experiment_script("embedded/teacher_crops")
    monkeypatch.setattr(script, "HELD_OUT", slice(0, 1))
    seen = []

    def nearest(pixels):
        seen.append(pixels.shape)
        return np.kron(pixels, np.ones((4, 4, 1), np.float32))

    monkeypatch.setattr(script, "real_esrgan", lambda name: nearest)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        pixels = rng.integers(0, 256, (330, 350, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    crops = tmp_path / "crops"
    monkeypatch.setattr(
        sys, "argv", ["teacher_crops", str(tmp_path / "photos"), str(crops), "--count", "3"]
    )
    script.main()
    assert seen == [(76, 76, 3)] * 3
    data = PairedDataModule(
        train=str(crops / "train"),
        teacher=str(crops / "teacher"),
        val=str(crops / "val"),
        crop_size=256,
        batch_size=3,
        num_workers=0,
    )
    data.setup("fit")
    pairs = PhotographPairs(crops / "train", 4, 256, 0, teacher=crops / "teacher")
    sample = pairs[0, 1]
    assert sample["teacher"].shape == sample["hr"].shape == (3, 256, 256)
    # Nearest neighbours of the LR crop: all three are the same part of the photograph.
    assert (sample["teacher"][..., ::4, ::4] - sample["lr"]).abs().max() < 1e-6
    assert len(list((crops / "val" / "LR").iterdir())) == 1
    script.main()
    assert len(seen) == 3
