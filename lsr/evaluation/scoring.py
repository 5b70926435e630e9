"""Evaluate images: make the result, read its file, and compute the row of its metrics."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsr.console.progress_bar import progress_bar
from lsr.datasets.paired_folders import fits
from lsr.distributed.processes import Processes
from lsr.evaluation.data import Item
from lsr.evaluation.per_image import FAILED, Journal, read_rows
from lsr.evaluation.upsampling import upsampled
from lsr.images import (
    Photograph,
    Sizes,
    UnreadableImage,
    probe,
    read_photograph,
    read_rgb8,
    write_png,
)
from lsr.inference.config import SamplingConfig
from lsr.inference.memory import is_out_of_memory, shortage
from lsr.inference.upscaler import Upscaler
from lsr.metrics.cards import CARDS
from lsr.metrics.quality import Quality


@dataclass(frozen=True, kw_only=True)
class Job:
    """Evaluation of one method; can be pickled for other processes.

    Attributes:
        out: Folder of the evaluation.
        items: All images.
        metrics: Available metrics of single images, keys of `lsr.metrics.cards.CARDS`.
        weights: Folder with files of metric weights, searched before torch's cache.
        model: File of the model that makes the results; None for upsampling and for predictions.
        sampling: Sampling settings of the model.
        device: "cpu", "cuda", or one GPU such as "cuda:1".
        threads: CPU threads of each process. The last digits of a value depend on their number,
            because they determine the order of summation.
        upsampling: Key of `UPSAMPLINGS` if the results are made by upsampling, else None.
    """

    out: Path
    items: tuple[Item, ...]
    metrics: tuple[str, ...]
    weights: Path | None
    model: Path | None
    sampling: SamplingConfig
    device: str
    threads: int
    upsampling: str | None = None


def pending(job: Job) -> list[Item]:
    """Return the images without a valid row.

    All processes must call this before one of them starts to evaluate: a row is valid only if the
    file of the result exists, so that new files change the answer.
    """
    done = read_rows(job.out, job.items)
    return [item for item in job.items if item.name not in done and item.sr is not None]


def score(job: Job, items: Sequence[Item], processes: Processes) -> None:
    """Evaluate this process's share of the images; write one row per image, also if it fails.

    Args:
        job: The evaluation.
        items: The `pending` images, the same in all processes.
        processes: The processes.
    """
    torch.set_num_threads(job.threads)
    todo = items[processes.rank :: processes.size]
    if not todo:
        return
    device = device_of(job, processes)
    make = _maker(job, todo, device)
    measures = {name: Quality((name,), weights=job.weights) for name in job.metrics}
    journal = Journal(job.out, processes.rank)
    # All processes have about the same number of images, so that one progress bar is enough.
    several = f" (1 of {processes.size} processes)" if processes.size > 1 else ""
    sizes = Sizes([item.lr for item in todo])
    with progress_bar("", sizes.total, "Mpx", shown=processes.leads) as bar:
        for number, item in enumerate(todo):
            bar.describe(f"evaluating{several}, image {number + 1} of {len(todo)}")
            try:
                journal.append(_row(item, make, measures, device))
            except Exception as error:
                journal.append({"name": item.name, FAILED: _reason(error, item)})
            bar.advance(sizes[number])
            bar.expect(sizes.total)
    journal.close()


def device_of(job: Job, processes: Processes) -> torch.device:
    """Return the device of this process; several processes use one GPU each."""
    if job.device == "cuda" and processes.size > 1:
        return processes.device()
    return torch.device(job.device)


def _reason(error: Exception, item: Item) -> str:
    """Return, in one line, why an image failed; errors that are not due to the image are raised."""
    if isinstance(error, UnreadableImage):
        message = str(error)
    elif is_out_of_memory(error):
        message = f"{item.lr}: {shortage(error)}"
    elif isinstance(error, OSError):
        message = f"{item.lr}: {error}"
    else:
        raise error
    return " ".join(message.split())


def _maker(
    job: Job, items: Sequence[Item], device: torch.device
) -> Callable[[Item], Photograph] | None:
    """Return the function that makes the result of an image; None if all results exist already."""
    if job.upsampling is not None:
        return functools.partial(upsampled, method=job.upsampling)
    if job.model is None:
        return None
    sampling = dataclasses.asdict(job.sampling)
    upscaler = Upscaler.from_pretrained(job.model, device=device, **sampling)
    upscaler.expect(item.tags for item in items)

    def upscaled(item: Item) -> Photograph:
        photograph = dataclasses.replace(read_photograph(item.lr), alpha=None)  # as metrics see it
        return upscaler.upscale(photograph, tags=item.tags)

    return upscaled


def _row(
    item: Item,
    make: Callable[[Item], Photograph] | None,
    measures: dict[str, Quality],
    device: torch.device,
) -> dict[str, Any]:
    """Return the row of an image.

    Args:
        item: The image.
        make: Function that makes the result; None if its file exists.
        measures: One `Quality` per metric, by name.
        device: Device of the metrics.

    Raises:
        UnreadableImage: If a file cannot be read, or HR and result have different sizes.
        OSError: If the result cannot be written.
    """
    assert item.sr is not None
    if make is not None:
        # Metrics are defined on 8-bit images, and the saved file must be the image they judge.
        write_png(item.sr, dataclasses.replace(make(item), bits=8, alpha=None))
    sr = read_rgb8(item.sr)
    hr = None if item.hr is None else cropped(read_rgb8(item.hr), sr, item)
    height, width = sr.shape[:2]
    row: dict[str, Any] = {"name": item.name, "width": width, "height": height}
    result = _to_tensor(sr, device)
    target = None if hr is None else _to_tensor(hr, device)
    needs_lr = any(CARDS[name].of_lr for name in measures)
    source = _to_tensor(read_rgb8(item.lr), device) if needs_lr else None
    for name, measure in measures.items():
        is_large_enough = min(height, width) >= CARDS[name].min_side
        row[name] = (
            measure(result, target, lr=source)[name].item() if is_large_enough else float("nan")
        )
    return row | {"inputs": item.inputs}


def cropped(hr: np.ndarray, sr: np.ndarray, item: Item) -> np.ndarray:
    """Return the HR photograph cut at its right and bottom edges to the size of the result.

    Args:
        hr: HR photograph (H, W, 3) uint8.
        sr: Result (h, w, 3) uint8.
        item: Item with the files of both, and of the LR photograph.

    Raises:
        UnreadableImage: If the HR photograph is smaller, or larger by one LR pixel or more.
    """
    height, width = sr.shape[:2]
    scale = max(1, width // probe(item.lr)[0])
    if not fits((hr.shape[1], hr.shape[0]), (width, height), scale):
        raise UnreadableImage(
            f"{item.hr}: its {hr.shape[1]} x {hr.shape[0]} pixels do not fit the "
            f"{width} x {height} of the result {item.sr}; give the HR photograph of it"
        )
    return hr[:height, :width]


def _to_tensor(image: np.ndarray, device: torch.device) -> Tensor:
    """Turn (H, W, 3) uint8 into (1, 3, H, W) in [-1, 1]."""
    return (
        torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None] / 127.5 - 1
    )
