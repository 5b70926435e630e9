"""Compare two methods image by image, by paired differences of their values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lsr.evaluation.method_result import MethodResult, Row
from lsr.evaluation.summary import statistics
from lsr.metrics.cards import CARDS


def compare(ours: MethodResult, theirs: MethodResult) -> dict[str, dict[str, Any]]:
    """Compare the evaluated method with another one.

    Returns:
        By metric what `compare_rows` returns. FID has no value for single images: its `difference`,
        `ci95` and `better_in` are None.
    """
    comparison = compare_rows(ours.rows, theirs.comparable_rows(), ours.job.metrics)
    if theirs.fid is not None:
        comparison["fid"] = {
            "mean": theirs.fid["mean"],
            "mean_n": theirs.fid["n"],
            "difference": None,
            "ci95": None,
            "n": theirs.fid["n"],
            "better_in": None,
        }
    return comparison


def compare_rows(
    ours: Sequence[Row], theirs: Sequence[Row], metrics: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Compare the rows of the images that both methods have.

    The interval is computed by `statistics` from the differences. This is a paired bootstrap: both
    values of an image are drawn together, so that the interval does not become wider because some
    images are difficult for both methods.

    Args:
        ours: Rows of our method.
        theirs: Rows of another method, with results of the same sizes.
        metrics: Keys of the rows.

    Returns:
        By metric: `mean` of all their values and the number `mean_n` of these; the mean
        `difference` ours - theirs, its interval `ci95`, and the number `n` of images for which both
        have a value; the number `better_in` of images for which ours is strictly better. A value
        is None where `statistics` has none.
    """
    partners = {row["name"]: row for row in theirs}
    pairs = [(row, partners[row["name"]]) for row in ours if row["name"] in partners]
    comparison = {}
    for metric in metrics:
        values = [row[metric] for row in theirs if math.isfinite(row[metric])]
        differences = [mine[metric] - other[metric] for mine, other in pairs]
        paired = statistics(differences)
        sign = 1 if CARDS[metric].higher_is_better else -1
        comparison[metric] = {
            "mean": float(np.mean(values)) if values else None,
            "mean_n": len(values),
            "difference": paired["mean"],
            "ci95": paired["ci95"],
            "n": paired["n"],
            "better_in": sum(sign * difference > 0 for difference in differences),
        }
    return comparison


def in_words(compared: Mapping[str, Any]) -> str:
    """Return a comparison by one metric in words, or a dash if there is no difference.

    Args:
        compared: A value of `compare_rows`.

    Returns:
        For example `+0.8310 [0.6102, 1.0517], better in 22 of 24`.
    """
    if compared["difference"] is None:
        return "–"
    interval = ""
    if compared["ci95"] is not None:
        low, high = compared["ci95"]
        interval = f" [{low:.4f}, {high:.4f}]"
    count = f"better in {compared['better_in']} of {compared['n']}"
    return f"{compared['difference']:+.4f}{interval}, {count}"
