"""Make a job of every method that `--beside` names: upsampling, or a folder of results."""

import dataclasses
import os
from pathlib import Path

from lsr.evaluation.data import predicted_items, upsampled_items
from lsr.evaluation.per_image import PREDICTIONS
from lsr.evaluation.protocols import check_protocol
from lsr.evaluation.scoring import Job
from lsr.evaluation.upsampling import UPSAMPLINGS

_FOLDER = "beside"
"""Subfolder of the evaluation that holds one folder per method."""


def jobs_of_methods(methods: str, job: Job, protocol: str, scale: int | None) -> dict[str, Job]:
    """Return one job per method, by name.

    Each method is an evaluation in a folder of its own, below that of `job`. Its rows depend on no
    other method, and stay valid when the evaluated method or the list of methods changes.

    Args:
        methods: Keys of `UPSAMPLINGS` and folders of results, separated by commas.
        job: Job of the evaluated method.
        protocol: Key of `PROTOCOLS` that the results in folders must obey.
        scale: Scale of the evaluated model; None if predictions are evaluated.

    Returns:
        Jobs by name of the method: the upsampling, or the last part of the folder's path.

    Raises:
        ValueError: If a folder is missing or has no name, contains no result of these photographs,
            or two methods have the same name.
    """
    jobs: dict[str, Job] = {}
    for method in dict.fromkeys(method.strip() for method in methods.split(",")):
        name = _name(method)
        if name in jobs:
            raise ValueError(
                f"--beside: two methods are called {name!r}, after the last part of their folders: "
                "rename one folder"
            )
        out = job.out / _FOLDER / name
        if method in UPSAMPLINGS:
            items = upsampled_items(job.items, scale, out / PREDICTIONS)
            upsampling = method
        else:
            items = predicted_items(job.items, Path(method))
            upsampling = None
            check_protocol(protocol, items, None)
        jobs[name] = dataclasses.replace(
            job, out=out, items=tuple(items), model=None, upsampling=upsampling
        )
    return jobs


def _name(method: str) -> str:
    """Return the name of a method.

    Args:
        method: Key of `UPSAMPLINGS`, or folder of results.

    Raises:
        ValueError: If it is neither, or the folder is the root of the file system.
    """
    if method in UPSAMPLINGS:
        return method
    if not (method and Path(method).is_dir()):
        raise ValueError(
            f"--beside: {method!r} is neither {' nor '.join(UPSAMPLINGS)} nor a folder"
        )
    name = os.path.basename(os.path.abspath(method))
    if not name:
        raise ValueError(
            f"--beside: {method!r} has no name for the table: choose a folder below it"
        )
    return name
