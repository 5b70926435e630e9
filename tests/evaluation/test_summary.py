import hashlib
import math

import numpy as np
import pytest

from lsr.evaluation.summary import card_document, statistics
from lsr.metrics.cards import CARDS


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).normal(30, 2, 400)
    result = statistics(values.tolist())
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert result["n"] == 400
    assert result["mean"] == pytest.approx(values.mean()) and result["std"] == pytest.approx(
        values.std(ddof=1)
    )
    assert result["ci95"] == pytest.approx(
        [values.mean() - 1.96 * error, values.mean() + 1.96 * error], abs=0.1 * error
    )
    assert statistics(values.tolist()) == result, "the same figures every time"


def test_the_interval_of_skewed_values_is_skewed():
    result = statistics([0.0] * 19 + [10.0])
    low, high = result["ci95"]
    assert low == 0 and high - result["mean"] > result["mean"] - low


def test_images_without_a_value_are_left_out():
    assert statistics([1.0, float("nan"), 3.0]) == statistics([1.0, 3.0])
    assert statistics([float("nan")]) == {"n": 0, "mean": None, "std": None, "ci95": None}
    assert statistics([2.5]) == {"n": 1, "mean": 2.5, "std": None, "ci95": None}


def test_a_card_has_the_sha256_of_the_file_in_use(tmp_path):
    path = tmp_path / "some.mat"
    path.write_bytes(b"parameters")
    card = card_document("niqe", [path])
    assert card["weights"][0]["file"] == "some.mat"
    assert card["weights"][0]["sha256"] == hashlib.sha256(b"parameters").hexdigest()
    assert card["weights"][0]["source"].endswith(CARDS["niqe"].weights[0].name)
    assert (card["pyiqa_name"], card["reference"], card["direction"]) == (
        "niqe",
        "none",
        "lower is better",
    )
