"""`lsr bench pictures`: seconds per LR megapixel of sampling one picture, over its size.

Sampling in bands of rows is compared with sampling the whole picture, which needs much more memory.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lsr.bench.end_to_end import model_of
from lsr.bench.table import Bench, Table, say
from lsr.bench.timing import time_calls
from lsr.inference.cells import Band
from lsr.inference.config import SamplingConfig
from lsr.inference.memory import MemoryEstimate
from lsr.inference.noise import NoiseRows
from lsr.inference.picture_sampler import PictureSampler
from lsr.inference.sampling import super_resolve
from lsr.models.mixture import Model

_SIDES = (128, 256, 512)
"""Heights in LR pixels on a CPU; the width is 3 / 2 of the height."""

_LARGE_SIDES = (512, 1024, 2048)
"""Heights on a GPU."""

_TOLERANCE = 1e-5
"""Largest difference of pixels in [0, 1] between bands and the whole picture, in float32."""

_COLUMNS = ("LR picture", "way", "s per LR megapixel", "difference")


@torch.no_grad()
def measure(bench: Bench) -> int:
    """Measure the suite and return the number of sizes for which bands differ from the whole."""
    model, shift, name = model_of(bench)
    model = model.to(bench.device).float()
    say(f"\n{name}, {bench.steps} sampling steps, float32")
    table = Table(_COLUMNS)
    wrong = 0
    for height in _LARGE_SIDES if bench.large else _SIDES:
        width = height * 3 // 2
        bands, whole = _ways(bench, model, shift, height, width)
        difference = float((bands() - whole()).abs().max())
        is_wrong = not difference <= _TOLERANCE  # NaN is wrong too
        wrong += is_wrong
        for way, run in (("bands", bands), ("whole", whole)):
            seconds = time_calls(run, bench.device, bench.seconds).seconds
            table.add(
                {
                    "LR picture": f"{width}x{height}",
                    "way": way,
                    "s per LR megapixel": ""
                    if is_wrong
                    else f"{1e6 * seconds / height / width:.3f}",
                    "difference": f"{difference:.1e}" if way == "bands" else "",
                }
            )
    table.save(bench.out, "pictures", bench.header)
    return wrong


def _ways(
    bench: Bench, model: Model, shift: float, height: int, width: int
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Return the functions that sample an image (3, H, W) in bands and as a whole."""
    sampling = SamplingConfig(num_inference_steps=bench.steps)
    lr = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    plan = MemoryEstimate(model, sampling, bench.device, height, width).plan()
    sampler = PictureSampler(
        denoiser=model, lr=lr, shift=shift, sampling=sampling, plan=plan, device=bench.device
    )
    return lambda: torch.cat(list(sampler.rows()), dim=1), _whole(bench, model, shift, lr)


def _whole(bench: Bench, model: Model, shift: float, lr: np.ndarray) -> Callable[[], Tensor]:
    """Return the function that samples the image (3, H, W) of an LR image (h, w, 3) as a whole.

    Like the sampler in bands, it sees the LR image with the margin of `Denoiser.margin`.
    """
    margin = model.margin
    first = model.config.scale * margin
    inside = slice(first, -first or None)
    lr = np.pad(lr, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    batch = torch.from_numpy(lr).permute(2, 0, 1)[None].to(bench.device) * 2 - 1

    def draw_noise(shape: tuple[int, ...]) -> Tensor:
        channels, rows, columns = shape
        source = NoiseRows(0, (columns, channels), lambda draw, items: [*map(draw, items)])
        return source.read(Band(0, rows)).permute(2, 0, 1)[None].to(bench.device)

    def whole() -> Tensor:
        sr = super_resolve(model, batch, draw_noise, bench.steps, shift)[0, :, inside, inside]
        return (sr + 1).cpu() / 2

    return whole
