"""Collect what is known of one method once all images have been evaluated."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lsr.evaluation.data import Item
from lsr.evaluation.per_image import read_failures, read_rows
from lsr.evaluation.scoring import Job
from lsr.evaluation.summary import statistics
from lsr.metrics.fid import FrechetInceptionDistance

ABSENT = "no prediction of this name"
"""Reason for an image whose result does not exist."""

Row = Mapping[str, Any]
"""Row of an image, see `lsr.evaluation.scoring`: its name, width and height, and its values."""


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """Results of one method.

    The evaluated method is called "ours" here and in the report.

    Attributes:
        name: Name of the method.
        job: Evaluation of the method, with its folder and its metrics.
        items: Images that have a row, in the order of `job.items`.
        rows: Rows of these images, in the same order.
        failed: Reasons why images have no row, by name. Of another method than ours only images
            that ours has.
        mismatched: Reasons why rows cannot be compared with ours, by name: the result has another
            size.
        fid: Mean, number of images, standard deviation and interval of FID, as from `statistics`;
            None if FID was not requested.
    """

    name: str
    job: Job
    items: Sequence[Item]
    rows: Sequence[Row]
    failed: Mapping[str, str]
    mismatched: Mapping[str, str] = field(default_factory=dict)
    fid: Mapping[str, Any] | None = None

    def comparable_items(self) -> list[Item]:
        """Return the images that can be compared with ours."""
        return [item for item in self.items if item.name not in self.mismatched]

    def comparable_rows(self) -> list[Row]:
        """Return the rows that can be compared with ours."""
        return [row for row in self.rows if row["name"] not in self.mismatched]

    def missing(self) -> dict[str, str]:
        """Return the reasons why images cannot be compared with ours, by name."""
        return {**self.failed, **self.mismatched}

    def means_and_intervals(self) -> dict[str, Mapping[str, Any]]:
        """Return the `statistics` of each metric, FID last."""
        found: dict[str, Mapping[str, Any]] = {
            metric: statistics([row[metric] for row in self.rows]) for metric in self.job.metrics
        }
        if self.fid is not None:
            found["fid"] = self.fid
        return found

    def without_value(self) -> dict[str, list[str]]:
        """Return the metrics that have no value, by name of the image."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            metrics = [metric for metric in self.job.metrics if math.isnan(row[metric])]
            if metrics:
                found[row["name"]] = metrics
        return found


def collect_ours(job: Job, absent: str, with_fid: bool) -> MethodResult:
    """Return the results of the evaluated method.

    Args:
        job: Its evaluation.
        absent: Reason for images without a prediction.
        with_fid: Whether to compute FID.
    """
    items, rows = _scored(job)
    return MethodResult(
        name="ours",
        job=job,
        items=items,
        rows=rows,
        failed=_failures(job, job.items, items, absent),
        fid=_fid(job, items) if with_fid else None,
    )


def collect_other(name: str, job: Job, ours: MethodResult) -> MethodResult:
    """Return the results of a method that ours is compared with.

    FID has a value only if both methods have results of the same images, because FIDs of different
    sets cannot be compared.

    Args:
        name: Name of the method.
        job: Its evaluation.
        ours: Results of the evaluated method.
    """
    items, rows = _scored(job)
    result = MethodResult(
        name=name,
        job=job,
        items=items,
        rows=rows,
        failed=_failures(job, ours.items, items, ABSENT),
        mismatched=mismatched_sizes(ours.rows, rows),
    )
    if ours.fid is None:
        return result
    comparable = result.comparable_items()
    same_images = [item.name for item in comparable] == [item.name for item in ours.items]
    return dataclasses.replace(result, fid=_fid(job, comparable if same_images else []))


def mismatched_sizes(ours: Sequence[Row], theirs: Sequence[Row]) -> dict[str, str]:
    """Return both sizes of each image, by name, whose result has another size than ours.

    Values of images of different sizes cannot be compared.
    """
    sizes = {row["name"]: _size(row) for row in ours}
    mismatched = {}
    for row in theirs:
        name = row["name"]
        if name in sizes and sizes[name] != _size(row):
            mismatched[name] = f"the result has {_size(row)} pixels, ours {sizes[name]}"
    return mismatched


def _size(row: Row) -> str:
    return f"{row['width']} x {row['height']}"


def _scored(job: Job) -> tuple[list[Item], list[Row]]:
    """Return the images that have a row, and their rows, both in the order of the job's items."""
    done = read_rows(job.out, job.items)
    items = [item for item in job.items if item.name in done]
    return items, [done[item.name] for item in items]


def _failures(
    job: Job, wanted: Sequence[Item], scored: Sequence[Item], absent: str
) -> dict[str, str]:
    """Return the reasons why wanted images have no row, by name.

    Args:
        job: The evaluation.
        wanted: Images that should have a row.
        scored: Images that have a row.
        absent: Reason for an image whose result does not exist.
    """
    reasons = read_failures(job.out)
    lacking = {item.name for item in wanted} - {item.name for item in scored}
    return {
        item.name: absent if item.sr is None else reasons[item.name]
        for item in job.items
        if item.name in lacking
    }


def _fid(job: Job, items: Sequence[Item]) -> dict[str, Any]:
    """Return FID of the images that have an HR photograph, in the form of `statistics`."""
    pairs = [(item.sr, item.hr) for item in items if item.sr is not None and item.hr is not None]
    value = None
    if len(pairs) > 1:
        sr, hr = zip(*pairs, strict=True)
        value = FrechetInceptionDistance(job.weights)(sr, hr, torch.device(job.device))
    return {"n": len(pairs), "mean": value, "std": None, "ci95": None}
