"""From LR photographs to rows: make the result where a model does it, read it as the file holds it, and measure."""

import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsr.evaluation.data import Item
from lsr.evaluation.rows import FAILED, Journal, read_rows
from lsr.evaluation.upsampling import upsampled
from lsr.images import Photograph, UnreadableImage, probe, read_photograph, read_rgb8, write_png
from lsr.inference.memory import is_out_of_memory
from lsr.inference.upscaler import Upscaler
from lsr.metrics.cards import CARDS
from lsr.metrics.quality import Quality
from lsr.progress_bar import progress_bar


@dataclass(frozen=True)
class Job:
    """What the processes of an evaluation share; made of what another process can be given.

    Attributes:
        out: Folder of the evaluation.
        items: All images.
        metrics: Metrics per image that can be computed.
        weights: Folder with their weights.
        model: The model that makes the results; None where they are upsampled, or there already.
        steps: Its sampling steps.
        seed: Its seed.
        tile: Side of its tiles in LR pixels; 0 for whole photographs. Not "auto": results would depend on free memory.
        color_fix: How its colours are corrected, see `lsr.inference.color_fix`.
        device: "cpu" or "cuda", or a certain GPU such as "cuda:1".
        threads: Of each process: sums of another number of threads differ in their last digits.
        upsampling: How the results are upsampled, a key of `UPSAMPLINGS`; None where they are made otherwise.
    """

    out: Path
    items: tuple[Item, ...]
    metrics: tuple[str, ...]
    weights: Path | None
    model: Path | None
    steps: int
    seed: int
    tile: int
    color_fix: str
    device: str
    threads: int
    upsampling: str | None = None


def pending(job: Job) -> list[Item]:
    """Return the images that have no row yet. To be asked before any process begins: results that appear change the answer."""
    done = read_rows(job.out, job.items)
    return [item for item in job.items if item.name not in done and item.sr is not None]


def score(job: Job, items: Sequence[Item], rank: int, size: int) -> None:
    """Measure every `size`-th image, and write down why others fail.

    Args:
        job: The evaluation.
        items: What is `pending`, the same for all processes.
        rank: Number of this process.
        size: Number of processes.
    """
    torch.set_num_threads(job.threads)
    todo = items[rank::size]
    if not todo:
        return
    # torchrun counts through all machines, GPUs are counted on each.
    local = os.environ.get("LOCAL_RANK", rank)
    device = torch.device(f"cuda:{local}" if job.device == "cuda" and size > 1 else job.device)
    make = _maker(job, todo, device)
    measures = {name: Quality((name,), weights=job.weights) for name in job.metrics}
    journal = Journal(job.out, rank)
    parent = multiprocessing.parent_process()
    # The other processes have as much to do, and one bar is enough.
    description = "evaluating" if size == 1 else f"evaluating (1 of {size} processes)"
    with progress_bar(description, len(todo), "images", shown=rank == 0) as bar:
        for item in todo:
            if parent is not None and not parent.is_alive():
                break
            try:
                journal.append(_row(item, make, measures, device))
            except Exception as error:
                if not isinstance(error, (UnreadableImage, OSError)) and not is_out_of_memory(
                    error
                ):
                    raise
                message = " ".join(
                    (
                        str(error) if isinstance(error, UnreadableImage) else f"{item.lr}: {error}"
                    ).split()
                )
                journal.append({"name": item.name, FAILED: message})
            bar.advance(1)
    journal.close()


def _maker(
    job: Job, items: Sequence[Item], device: torch.device
) -> Callable[[Item], Photograph] | None:
    """Return what makes the result of an image; None where all are there already."""
    if job.upsampling is not None:
        return functools.partial(upsampled, method=job.upsampling)
    if job.model is None:
        return None
    upscaler = Upscaler.from_pretrained(
        job.model, job.steps, job.seed, device, job.tile, job.color_fix
    )
    upscaler.expect(item.tags for item in items)
    return lambda item: upscaler.upscale(read_photograph(item.lr), tags=item.tags)


def _row(
    item: Item,
    make: Callable[[Item], Photograph] | None,
    measures: dict[str, Quality],
    device: torch.device,
) -> dict[str, Any]:
    assert item.sr is not None
    if make is not None:
        # Metrics look at colours in 8 bits, and so does who opens the file.
        write_png(item.sr, dataclasses.replace(make(item), bits=8, alpha=None))
    sr = read_rgb8(item.sr)
    hr = None if item.hr is None else cropped(read_rgb8(item.hr), sr, item)
    height, width = sr.shape[:2]
    row: dict[str, Any] = {"name": item.name, "width": width, "height": height}
    tensors = [_to_tensor(sr, device), None if hr is None else _to_tensor(hr, device)]
    for name, measure in measures.items():
        fits = min(height, width) >= CARDS[name].min_side
        row[name] = measure(*tensors)[name].item() if fits else float("nan")
    return row | {"inputs": item.inputs}


def cropped(hr: np.ndarray, sr: np.ndarray, item: Item) -> np.ndarray:
    """Cut the HR photograph to the size of the result at the right and at the bottom, by less than one LR pixel.

    Args:
        hr: (H, W, 3) uint8.
        sr: (h, w, 3) uint8.
        item: Where they are from.

    Raises:
        UnreadableImage: If the sizes do not belong together.
    """
    height, width = sr.shape[:2]
    scale = max(1, width // probe(item.lr)[0])
    if not (0 <= hr.shape[0] - height < scale and 0 <= hr.shape[1] - width < scale):
        raise UnreadableImage(
            f"{item.hr}: {hr.shape[1]} x {hr.shape[0]} pixels do not belong to the {width} x {height} of the result {item.sr}"
        )
    return hr[:height, :width]


def _to_tensor(image: np.ndarray, device: torch.device) -> Tensor:
    """Turn (H, W, 3) uint8 into (1, 3, H, W) in [-1, 1]."""
    return (
        torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None] / 127.5 - 1
    )
