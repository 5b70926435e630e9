"""Speed of the degradation, compared with the published pipeline.

Run it with `python -m lsr.bench.degradations`.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import ModuleType
from typing import NamedTuple
from unittest import mock

import numpy as np
import psutil
import torch
from torch import Generator, Tensor

from lsr.bench import published_degradations as published
from lsr.degradations import pipeline
from lsr.degradations.config import JPEG_MODES, DegradationConfig
from lsr.degradations.parameters import DegradationParameters
from lsr.degradations.random_parameters import draw

_STAGES: dict[ModuleType, tuple[str, ...]] = {
    pipeline: (
        "unsharp_mask",
        "make_kernels",
        "blur",
        "resize",
        "add_gaussian",
        "add_poisson",
        "compress",
    ),
    published: ("sharpen", "synthesise", "blur", "resize", "add_noise", "compress"),
}


class _Comparison(NamedTuple):
    sharpened: bool
    images_per_batch: int
    default_batches: int


_COMPARISONS = {
    "usm": _Comparison(sharpened=True, images_per_batch=16, default_batches=3),
    "batch": _Comparison(sharpened=False, images_per_batch=16, default_batches=50),
    "single": _Comparison(sharpened=False, images_per_batch=1, default_batches=800),
}

_IMAGES_ON_GPU = 16


def main() -> None:
    """Run the benchmark from the command line."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    for case in _COMPARISONS:
        if options.case in (case, "all"):
            compare(case, options.size, options.batches, options.seed, options.jpeg)
    if options.case in ("memory", "all"):
        watch_memory(options.batches or 2000, options.seed)
    if options.case == "device" or (options.case == "all" and torch.cuda.is_available()):
        time_on_gpu(options.size, options.batches or 50, options.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--case",
        choices=[*_COMPARISONS, "memory", "device", "all"],
        default="all",
        help="comparison with the published pipeline: sharpened batches (usm), batches without "
        "sharpening (batch), one image at a time (single); memory over many image sizes (memory); "
        "images per second on a GPU (device); default: all that this machine can run",
    )
    parser.add_argument(
        "--size", type=int, default=512, help="side of the HR images in pixels (default 512)"
    )
    parser.add_argument(
        "--batches", type=int, help="number of batches (default: depends on the case)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of images and draws (default 0)")
    parser.add_argument(
        "--jpeg",
        choices=JPEG_MODES,
        default="true",
        help="JPEG mode of this library's pipeline (default true); the published pipeline always "
        "uses DiffJPEG",
    )
    return parser


def compare(case: str, size: int, batches: int | None, seed: int, jpeg: str) -> None:
    """Print images per second of both pipelines, and the time of their stages.

    Args:
        case: Name of the comparison: "usm", "batch" or "single".
        size: Side of the HR images in pixels.
        batches: Number of batches; None takes the comparison's default.
        seed: Seed of images and draws.
        jpeg: JPEG mode of this library's pipeline.
    """
    sharpened, count, default = _COMPARISONS[case]
    batches = batches or default
    cfg = DegradationConfig(usm_lr=sharpened, usm_target=sharpened, jpeg=jpeg)
    hr = torch.stack([dead_leaves(size, seed + i) for i in range(count)])
    _write(
        f"\n{case}: {batches} x {count} x {size}^2, scale {cfg.scale}, jpeg {jpeg}, "
        f"{torch.get_num_threads()} thread(s)"
    )
    _write("| pipeline | images/s (wall) | images per CPU s | ms CPU per image by stage |")
    _write("|---|---|---|---|")
    rates = []
    for name, module in (("published", published), ("lsr", pipeline)):
        wall, cpu, stages = time_pipeline(module, hr, cfg, batches, seed)
        rates.append((1 / wall, 1 / cpu))
        slowest_first = sorted(stages.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{stage} {1e3 * seconds:.2f}" for stage, seconds in slowest_first)
        _write(f"| {name} | {1 / wall:.2f} | {1 / cpu:.2f} | {parts} |")
    _write(f"| ratio | {rates[1][0] / rates[0][0]:.2f} | {rates[1][1] / rates[0][1]:.2f} | |")


def time_pipeline(
    module: ModuleType, hr: Tensor, cfg: DegradationConfig, batches: int, seed: int
) -> tuple[float, float, dict[str, float]]:
    """Degrade the same images again and again with new draws.

    Args:
        module: `lsr.degradations.pipeline` or `lsr.bench.published_degradations`.
        hr: HR images `(B, 3, H, W)` in [0, 1].
        cfg: Configuration to draw from.
        batches: Number of timed batches, after one for warming up.
        seed: Seed of the draws.

    Returns:
        Wall seconds, CPU seconds, and CPU seconds by stage, each per image.
    """

    def run(number: int) -> Tensor:
        parameters = _draw_batch(cfg, seed, number, len(hr))
        if module is pipeline:
            return pipeline.apply(hr, parameters, cfg)
        return published.degrade(hr, parameters, cfg, Generator().manual_seed(number))

    run(batches)
    with stopwatch(module) as stages:
        wall = time.perf_counter()
        cpu = time.process_time()
        for number in range(batches):
            run(number)
        wall = time.perf_counter() - wall
        cpu = time.process_time() - cpu
    images = batches * len(hr)
    stages["the rest"] = cpu - sum(stages.values())
    return wall / images, cpu / images, {name: seconds / images for name, seconds in stages.items()}


@contextmanager
def stopwatch(module: ModuleType) -> Iterator[dict[str, float]]:
    """Collect the CPU seconds spent in each stage of a pipeline while the context is open.

    Args:
        module: Pipeline whose stages are replaced by timed ones.

    Yields:
        CPU seconds by stage, updated after every call.
    """
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable) -> Callable:
        def wrapper(*args: object, **kwargs: object) -> object:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += time.process_time() - start

        return wrapper

    with ExitStack() as stack:
        for name in _STAGES[module]:
            stack.enter_context(mock.patch.object(module, name, timed(name, getattr(module, name))))
        yield seconds


def watch_memory(batches: int, seed: int) -> None:
    """Print the resident memory while batches of always new image sizes are degraded.

    Args:
        batches: Number of batches.
        seed: Seed of sizes and draws.
    """
    cfg = DegradationConfig()
    rng = np.random.default_rng(seed)
    image = dead_leaves(320, seed)
    process = psutil.Process()
    _write(f"\nmemory: {batches} batches of 1 to 4 images of 32 to 320 pixels")
    _write("| batches | resident MiB |\n|---|---|")
    for number in range(batches):
        count, height, width = (int(n) for n in rng.integers((1, 32, 32), (5, 321, 321)))
        hr = image[None, :, :height, :width].expand(count, -1, -1, -1)
        pipeline.apply(hr, _draw_batch(cfg, seed, number, count), cfg)
        if (number + 1) % max(1, batches // 10) == 0:
            _write(f"| {number + 1} | {process.memory_info().rss / 2**20:.0f} |")


def time_on_gpu(size: int, batches: int, seed: int) -> None:
    """Print images per second on the GPU; fail if the host waits for the GPU inside the pipeline.

    Args:
        size: Side of the HR images in pixels.
        batches: Number of timed batches.
        seed: Seed of images and draws.
    """
    cfg = DegradationConfig()
    hr = torch.stack([dead_leaves(size, seed + i) for i in range(_IMAGES_ON_GPU)]).cuda()
    _write(
        f"\ndevice: {batches} x {_IMAGES_ON_GPU} x {size}^2 on {torch.cuda.get_device_name()}, "
        f"sharpened, jpeg {cfg.jpeg}"
    )
    _check_gpu_result(hr[:2], cfg, seed)
    drawn = [_draw_batch(cfg, seed, number, _IMAGES_ON_GPU) for number in range(batches)]
    for parameters in drawn[:3]:
        pipeline.apply(hr, parameters, cfg)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    start = time.perf_counter()
    for parameters in drawn:
        pipeline.apply(hr, parameters, cfg)
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    _write(f"{batches * _IMAGES_ON_GPU / (time.perf_counter() - start):.0f} images/s")


def _check_gpu_result(hr: Tensor, cfg: DegradationConfig, seed: int) -> None:
    """Compare GPU and CPU on undegraded samples, because noise differs between devices."""
    drawn = _draw_batch(cfg, seed, 0, len(hr))
    parameters = [replace(sample, identity=True) for sample in drawn]
    on_cpu = pipeline.apply(hr.cpu(), parameters, cfg)
    on_gpu = pipeline.apply(hr, parameters, cfg).cpu()
    assert (on_cpu - on_gpu).abs().max() <= 1 / 255 + 1e-6, "the GPU's LR is not the CPU's"


def _draw_batch(
    cfg: DegradationConfig, seed: int, number: int, count: int
) -> Sequence[DegradationParameters]:
    return [draw(cfg, seed, number, i) for i in range(count)]


def dead_leaves(size: int, seed: int) -> Tensor:
    """Return a synthetic photograph of opaque discs, shaded and slightly grainy.

    The radii follow a power law, so the image has edges at all scales, as photographs have (dead
    leaves model; Lee, Mumford and Huang, "Occlusion models for natural images", 2001).

    Args:
        size: Side in pixels.
        seed: Seed of the discs and of the grain.

    Returns:
        Image `(3, size, size)` in [0, 1].
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    image = np.full((3, size, size), 0.5, np.float32)
    for _ in range(300):
        radius = min(size / 3, 4 * (1 - rng.random()) ** -0.7)
        cx, cy, angle = rng.random() * size, rng.random() * size, rng.random() * 2 * np.pi
        disc = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        shade = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle))[disc] / radius * 0.15
        image[:, disc] = rng.random((3, 1)).astype(np.float32) + shade
    grain = rng.normal(0, 0.01, image.shape)
    return torch.from_numpy((image + grain).clip(0, 1).astype(np.float32))


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
