"""What `lsr.knee.replay` knows of metrics, and the rules that a detector is compared with."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from lsr.knee.replay import early_stopping, guess_metrics, parse_metrics


@pytest.mark.parametrize("direction", ["max", "min"])
@pytest.mark.parametrize("patience", [1, 5, 10])
def test_early_stopping_is_lightnings(direction, patience):
    generator = np.random.default_rng(patience)
    for trial in range(20):
        values = generator.normal(size=30).cumsum()
        if trial % 4 == 3:
            values[generator.integers(30)] = generator.choice([math.nan, math.inf, -math.inf])
        callback = EarlyStopping("m", patience=patience, mode=direction)
        stopped = next(
            (
                i
                for i, value in enumerate(values)
                if callback._evaluate_stopping_criteria(torch.tensor(value))[0]
            ),
            None,
        )
        picked, stop = early_stopping(list(enumerate(values)), direction, patience)
        assert stop == stopped
        nothing = -math.inf if direction == "max" else math.inf
        assert float(callback.best_score) == (nothing if picked is None else values[picked])


def test_metrics_are_known_by_name():
    quality = [
        "val/maniqa",
        "val/musiq-koniq",
        "val/clipiqa+",
        "val_psnr",
        "val/ssim_y",
        "val/niqe",
        "val/lpips_vgg",
        "val/DISTS",
    ]
    others = [
        "val/loss",
        "val/psnr_y_bicubic",
        "train/psnr",
        "knee/psnr_y/smoothed",
        "test/psnr_y",
        "val/assimilation",
        "psnr_y",
        "step",
    ]
    guessed = guess_metrics([*others, *quality])
    assert set(guessed) == set(quality)
    assert {name for name, way in guessed.items() if way == "min"} == {
        "val/niqe",
        "val/lpips_vgg",
        "val/DISTS",
    }
    assert guess_metrics(["psnr", "brisque", "loss"]) == {"psnr": "max", "brisque": "min"}


def test_metrics_are_parsed():
    assert parse_metrics("val/a:max, b:c:min,val/niqe") == {
        "val/a": "max",
        "b:c": "min",
        "val/niqe": "min",
    }
    for text in ("val/a", "val/a:up", "", ",", ":max"):
        with pytest.raises(ValueError, match="--metrics"):
            parse_metrics(text)
