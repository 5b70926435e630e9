"""Paired differences of two methods, and their bootstrap interval."""

import numpy as np
import pytest
import scipy.stats

from lsr.evaluation.comparison import compare_rows, in_words


def rows(**values):
    """Return rows of the images a, b, c, ... from the values of each metric."""
    per_image = zip(*values.values(), strict=True)
    return [
        {"name": "abcdef"[i]} | dict(zip(values, these, strict=True))
        for i, these in enumerate(per_image)
    ]


def test_differences_are_paired_by_name():
    ours = rows(psnr_y=[20.0, 22.0, 25.0], niqe=[5.0, 4.0, 3.0])
    theirs = rows(psnr_y=[19.0, 23.0, 21.0], niqe=[6.0, 4.0, 5.0])[::-1]
    by_metric = compare_rows(ours, theirs, ("psnr_y", "niqe"))
    # The differences are +1, -1 and +4 dB. A resample of three times the same difference has a
    # probability of 1/27 > 2.5 %: the interval reaches from the smallest to the largest difference.
    assert by_metric["psnr_y"] == {
        "mean": 21.0,
        "mean_n": 3,
        "difference": pytest.approx(4 / 3),
        "ci95": [-1.0, 4.0],
        "n": 3,
        "better_in": 2,
    }
    niqe = by_metric["niqe"]
    assert (niqe["mean"], niqe["difference"], niqe["ci95"], niqe["better_in"]) == (
        5.0,
        -1.0,
        [-2.0, 0.0],
        2,
    ), "a tie is not better"


def test_an_image_that_one_method_lacks_does_not_shift_the_others():
    ours = rows(psnr_y=[20.0, 30.0, 40.0, float("nan")])
    theirs = rows(psnr_y=[19.0, 28.0, 37.0, 90.0])
    compared = compare_rows(ours, [theirs[0], *theirs[2:]], ["psnr_y"])["psnr_y"]
    assert (compared["difference"], compared["n"], compared["better_in"]) == (2.0, 2, 2)
    assert (compared["mean"], compared["mean_n"]) == (pytest.approx((19 + 37 + 90) / 3), 3), (
        "the mean of all their values"
    )
    nothing = {"mean": None, "mean_n": 0, "difference": None, "ci95": None, "n": 0, "better_in": 0}
    assert compare_rows(ours, [], ["psnr_y"])["psnr_y"] == nothing


def test_the_interval_is_the_paired_percentile_bootstrap():
    generator = np.random.Generator(np.random.Philox(key=3))
    difficulty = generator.normal(0, 5, 60)  # of each image, for both methods
    ours = 28 + difficulty + generator.exponential(1, 60)
    theirs = 28 + difficulty + generator.exponential(0.6, 60)
    our_rows = [{"name": f"{i}", "psnr_y": value} for i, value in enumerate(ours)]
    their_rows = [{"name": f"{i}", "psnr_y": value} for i, value in enumerate(theirs)]
    low, high = compare_rows(our_rows, their_rows, ["psnr_y"])["psnr_y"]["ci95"]
    reference = scipy.stats.bootstrap(
        (ours, theirs),
        lambda x, y: np.mean(x - y),
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=9999,
        rng=generator,
    ).confidence_interval
    assert (low, high) == pytest.approx(
        tuple(reference), abs=0.05 * (reference.high - reference.low)
    )
    assert high - low < 1, "the interval of unpaired values is five times as wide"


def test_a_comparison_in_words():
    compared = {"difference": 0.83, "ci95": [0.61, 1.05], "n": 24, "better_in": 22}
    assert in_words(compared) == "+0.8300 [0.6100, 1.0500], better in 22 of 24"
    assert (
        in_words(compared | {"ci95": None, "n": 1, "better_in": 0, "difference": -0.5})
        == "-0.5000, better in 0 of 1"
    )
