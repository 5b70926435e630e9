"""`DegradationConfig`: presets, digests, and the values that it refuses."""

import dataclasses
import json

import pytest

from lsr.degradations import PRESETS, DegradationConfig
from lsr.degradations.config import KERNEL_FAMILIES


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name):
    cfg = DegradationConfig.preset(name)
    again = DegradationConfig(**json.loads(json.dumps(dataclasses.asdict(cfg))))
    assert again == cfg and again.digest() == cfg.digest() and hash(again) == hash(cfg)


def test_presets_with_other_values_have_other_digests():
    configurations = {DegradationConfig.preset(name) for name in PRESETS}
    assert len({cfg.digest() for cfg in configurations}) == len(configurations) == 7
    assert DegradationConfig.preset("seesr") == DegradationConfig.preset("realesrgan")


def test_whole_and_decimal_numbers_are_the_same_values():
    for name, whole, decimal in (
        ("gaussian_1", (1, 30), (1.0, 30.0)),
        ("identity_probability", 1, 1.0),
    ):
        digests = [DegradationConfig(**{name: value}).digest() for value in (whole, decimal)]
        assert digests[0] == digests[1]


def test_changes_go_on_top_of_a_preset():
    cfg = DegradationConfig.preset("pasd", scale=2, jpeg="compat")
    assert cfg.scale == 2 and cfg.jpeg == "compat"
    assert cfg.gaussian_1 == DegradationConfig.preset("pasd").gaussian_1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0}, "scale must be"),
        ({"scale": 2.0}, "scale must be"),
        ({"sigma_1": (3, 0.2)}, "sigma_1 must be"),
        ({"sigma_1": 3}, "sigma_1 must be"),
        ({"kernel_sizes_1": (float("inf"), 7)}, "kernel_sizes_1 must be"),
        ({"kernel_probabilities": 5}, "kernel_probabilities must be"),
        ({"resize_1_probabilities": (None, None, None)}, "resize_1_probabilities must be"),
        ({"sigma_1": ("a", 3)}, "sigma_1 must be"),
        ({"kernel_sizes_1": (7.9, 11.9)}, "kernel_sizes_1 must be whole numbers"),
        ({"usm_lr": "no"}, "usm_lr must be true or false, got 'no'"),
        ({"grey_probability": "0.5"}, "grey_probability must be a number in"),
        ({"sigma_2": (0, 1)}, "sigma_2 must be"),
        ({"sigma_2": (float("nan"), 1)}, "sigma_2 must be"),
        ({"poisson_2": (-1, 1)}, "poisson_2 must be"),
        ({"jpeg_quality_1": (0, 50)}, "jpeg_quality_1 must be"),
        ({"jpeg_quality_2": (50, 101)}, "jpeg_quality_2 must be"),
        ({"kernel_sizes_1": (8, 20)}, "kernel_sizes_1 must be two odd numbers"),
        ({"kernel_sizes_final": (7, 23)}, "kernel_sizes_final must be"),
        ({"resize_1_range": (1.1, 1.5)}, "resize_1_range must contain 1"),
        ({"resize_2_probabilities": (0.5, 0.6, 0.1)}, "resize_2_probabilities must be"),
        ({"kernel_probabilities": (1.0,)}, f"must be {len(KERNEL_FAMILIES)} probabilities"),
        ({"grey_probability": 1.5}, "grey_probability must be a number"),
        ({"jpeg": "webp"}, "jpeg must be one of"),
    ],
)
def test_impossible_values_are_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        DegradationConfig(**changes)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="bicubic"):
        DegradationConfig.preset("bsrgan")
    with pytest.raises(ValueError, match="unknown degradation setting name"):
        DegradationConfig.preset("pasd", name=1)
    with pytest.raises(ValueError, match="unknown degradation setting noise"):
        DegradationConfig.preset("pasd", noise=1)
