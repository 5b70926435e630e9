"""Throughput of the degradation against the published pipeline: `python -m lsr.bench.degradations`."""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import ModuleType
from unittest import mock

import numpy as np
import psutil
import torch
from torch import Generator, Tensor

from lsr.bench import published_degradations as published
from lsr.degradations import pipeline
from lsr.degradations.config import JPEG_MODES, DegradationConfig
from lsr.degradations.parameters import DegradationParameters, draw

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
_CASES = {  # name: (sharpen, images per batch, default batches)
    "usm": (True, 16, 3),
    "batch": (False, 16, 50),
    "single": (False, 1, 800),
}


def dead_leaves(size: int, seed: int) -> Tensor:
    """Return a synthetic photograph `(3, size, size)` in [0, 1]: opaque discs of power-law radii, shaded and slightly grainy."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    image = np.full((3, size, size), 0.5, np.float32)
    for _ in range(300):
        radius = min(size / 3, 4 * (1 - rng.random()) ** -0.7)
        cx, cy, angle = rng.random() * size, rng.random() * size, rng.random() * 2 * np.pi
        disc = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        shade = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle))[disc] / radius * 0.15
        image[:, disc] = rng.random((3, 1)).astype(np.float32) + shade
    return torch.from_numpy(
        (image + rng.normal(0, 0.01, image.shape)).clip(0, 1).astype(np.float32)
    )


@contextmanager
def stopwatch(module: ModuleType) -> Iterator[dict[str, float]]:
    """Collect the CPU seconds spent in each stage of `module`."""
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


def measure(
    module: ModuleType, hr: Tensor, cfg: DegradationConfig, batches: int, seed: int
) -> tuple[float, float, dict[str, float]]:
    """Return wall seconds, CPU seconds and CPU seconds per stage, all per image."""

    def run(parameters: list[DegradationParameters], number: int) -> Tensor:
        if module is pipeline:
            return pipeline.apply(hr, parameters, cfg)
        return published.degrade(hr, parameters, cfg, Generator().manual_seed(number))

    run([draw(cfg, seed, batches, i) for i in range(len(hr))], batches)
    with stopwatch(module) as stages:
        wall, cpu = time.perf_counter(), time.process_time()
        for number in range(batches):
            run([draw(cfg, seed, number, i) for i in range(len(hr))], number)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    images = batches * len(hr)
    stages["the rest"] = cpu - sum(stages.values())
    return wall / images, cpu / images, {name: seconds / images for name, seconds in stages.items()}


def compare(case: str, size: int, batches: int | None, seed: int, jpeg: str) -> None:
    """Write images per second and the stages of both pipelines."""
    sharpen, count, default = _CASES[case]
    batches = batches or default
    cfg = DegradationConfig(usm_lr=sharpen, usm_target=sharpen, jpeg=jpeg)
    hr = torch.stack([dead_leaves(size, seed + i) for i in range(count)])
    _write(
        f"\n{case}: {batches} x {count} x {size}^2, scale {cfg.scale}, jpeg {jpeg}, {torch.get_num_threads()} thread(s)"
    )
    _write(
        "| pipeline | images/s (wall) | images per CPU s | ms CPU per image by stage |\n|---|---|---|---|"
    )
    rates = []
    for name, module in (("published", published), ("lsr", pipeline)):
        wall, cpu, stages = measure(module, hr, cfg, batches, seed)
        rates.append((1 / wall, 1 / cpu))
        parts = ", ".join(
            f"{stage} {1e3 * s:.2f}"
            for stage, s in sorted(stages.items(), key=lambda item: -item[1])
        )
        _write(f"| {name} | {1 / wall:.2f} | {1 / cpu:.2f} | {parts} |")
    _write(f"| ratio | {rates[1][0] / rates[0][0]:.2f} | {rates[1][1] / rates[0][1]:.2f} | |")


def memory(batches: int, seed: int) -> None:
    """Write the resident memory while batches of ever new sizes are degraded."""
    cfg = DegradationConfig()
    rng = np.random.default_rng(seed)
    image = dead_leaves(320, seed)
    process = psutil.Process()
    _write(
        f"\nmemory: {batches} batches of 1 to 4 images of 32 to 320 pixels\n| batches | resident MiB |\n|---|---|"
    )
    for number in range(batches):
        count, height, width = (int(n) for n in rng.integers((1, 32, 32), (5, 321, 321)))
        hr = image[None, :, :height, :width].expand(count, -1, -1, -1)
        pipeline.apply(hr, [draw(cfg, seed, number, i) for i in range(count)], cfg)
        if (number + 1) % max(1, batches // 10) == 0:
            _write(f"| {number + 1} | {process.memory_info().rss / 2**20:.0f} |")


def device(size: int, batches: int, seed: int) -> None:
    """Write images per second on the GPU; a wait for it anywhere inside is an error."""
    cfg = DegradationConfig()
    hr = torch.stack([dead_leaves(size, seed + i) for i in range(16)]).cuda()
    _write(
        f"\ndevice: {batches} x 16 x {size}^2 on {torch.cuda.get_device_name()}, sharpened, jpeg {cfg.jpeg}"
    )
    on_cpu = pipeline.apply(
        hr[:2].cpu(), [replace(draw(cfg, seed, 0, i), identity=True) for i in range(2)], cfg
    )
    on_gpu = pipeline.apply(
        hr[:2], [replace(draw(cfg, seed, 0, i), identity=True) for i in range(2)], cfg
    ).cpu()
    assert (on_cpu - on_gpu).abs().max() <= 1 / 255 + 1e-6, "the GPU's LR is not the CPU's"
    drawn = [[draw(cfg, seed, number, i) for i in range(16)] for number in range(batches)]
    for parameters in drawn[:3]:
        pipeline.apply(hr, parameters, cfg)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    start = time.perf_counter()
    for parameters in drawn:
        pipeline.apply(hr, parameters, cfg)
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    _write(f"{batches * 16 / (time.perf_counter() - start):.0f} images/s")


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=[*_CASES, "memory", "device", "all"], default="all")
    parser.add_argument("--size", type=int, default=512, help="side of the HR images in pixels")
    parser.add_argument("--batches", type=int, help="batches to average over")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--jpeg",
        choices=JPEG_MODES,
        default="true",
        help="JPEG of our pipeline; the published one has its own",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for case in _CASES:
        if options.case in (case, "all"):
            compare(case, options.size, options.batches, options.seed, options.jpeg)
    if options.case in ("memory", "all"):
        memory(options.batches or 2000, options.seed)
    if options.case == "device" or (options.case == "all" and torch.cuda.is_available()):
        device(options.size, options.batches or 50, options.seed)


if __name__ == "__main__":
    main()
