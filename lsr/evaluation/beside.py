"""Other methods beside the one that is evaluated: upsampling, and anybody's results, measured alike and compared image by image."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.evaluation.data import predicted_items, upsampled_items
from lsr.evaluation.protocols import check_protocol
from lsr.evaluation.rows import PREDICTIONS
from lsr.evaluation.scoring import Job
from lsr.evaluation.summary import statistics
from lsr.evaluation.upsampling import UPSAMPLINGS
from lsr.metrics.cards import CARDS


def beside_jobs(methods: str, job: Job, protocol: str, scale: int | None) -> dict[str, Job]:
    """Make every method an evaluation of its own, below that which it stands beside: rows of one do not depend on the others.

    Args:
        methods: Keys of `UPSAMPLINGS` and folders with results, separated by commas.
        job: What they stand beside.
        protocol: What results that are there must obey.
        scale: Of the model; None where results are judged that are there.

    Returns:
        By name, which is the last part of a folder's.

    Raises:
        ValueError: If a folder is missing, has no name or no result of these photographs, or two methods have one name.
    """
    jobs: dict[str, Job] = {}
    for method in dict.fromkeys(method.strip() for method in methods.split(",")):
        made = method in UPSAMPLINGS
        if not made and not (method and Path(method).is_dir()):
            raise ValueError(
                f"--beside: {method!r} is neither {' nor '.join(UPSAMPLINGS)} nor a folder"
            )
        name = os.path.basename(os.path.abspath(method))
        if not name:
            raise ValueError(f"--beside: {method!r} has no name, choose a folder below it")
        if name in jobs:
            raise ValueError(
                f"--beside: two methods are called {name!r}, after the last part of their folders"
            )
        out = job.out / "beside" / name
        if made:
            items = upsampled_items(job.items, scale, out / PREDICTIONS)
        else:
            items = predicted_items(job.items, Path(method))
            check_protocol(protocol, items, None)
        jobs[name] = dataclasses.replace(
            job, out=out, items=tuple(items), model=None, upsampling=method if made else None
        )
    return jobs


def of_other_sizes(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Return both sizes of each image, by name, where theirs has another than ours: a metric of the two would not compare."""
    sizes = {row["name"]: f"{row['width']} x {row['height']}" for row in ours}
    found = {row["name"]: f"{row['width']} x {row['height']}" for row in theirs}
    return {
        name: f"the result has {size} pixels, ours {sizes[name]}"
        for name, size in found.items()
        if sizes.get(name, size) != size
    }


def compare(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Compare rows of the same images, those that both have.

    The interval is that of `statistics`, of the differences: images are resampled together with both their values, so what makes
    one image harder than another for every method does not widen it.

    Args:
        ours: Rows of ours.
        theirs: Rows of another method, none `of_other_sizes`.
        metrics: Keys of the rows.

    Returns:
        By metric, `mean` (of all theirs), `mean_n` (how many these are), `difference` (mean of ours - theirs), `ci95` of it, `n`
        (images that both have a value of) and `better_in` (those of them where ours is strictly better); None as in `statistics`.
    """
    partners = {row["name"]: row for row in theirs}
    pairs = [(row, partners[row["name"]]) for row in ours if row["name"] in partners]
    comparison = {}
    for name in metrics:
        values = [row[name] for row in theirs if math.isfinite(row[name])]
        differences = [mine[name] - other[name] for mine, other in pairs]
        paired = statistics(differences)
        sign = 1 if CARDS[name].higher_is_better else -1
        comparison[name] = {
            "mean": float(np.mean(values)) if values else None,
            "mean_n": len(values),
            "difference": paired["mean"],
            "ci95": paired["ci95"],
            "n": paired["n"],
            "better_in": sum(sign * difference > 0 for difference in differences),
        }
    return comparison


def in_words(compared: Mapping[str, Any]) -> str:
    """Return a comparison by a metric, such as `+0.8310 [0.6102, 1.0517], better in 22 of 24`; a dash where there is none."""
    if compared["difference"] is None:
        return "–"
    interval = "" if compared["ci95"] is None else " [{:.4f}, {:.4f}]".format(*compared["ci95"])
    return f"{compared['difference']:+.4f}{interval}, better in {compared['better_in']} of {compared['n']}"
