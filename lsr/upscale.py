"""`lsr upscale`: photographs and folders of photographs, one PNG each."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lsr.exit_codes import BAD_USAGE, DONE, SOME_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr upscale",
        description="Upscale photographs: PNG, JPEG, WebP, TIFF or BMP in, PNG out, exactly SCALE times as large. Alpha, 16 bits, "
        "EXIF orientation and ICC profiles are kept. Exit code 1: some inputs failed, each is named, the rest is done.",
    )
    parser.add_argument("src", nargs="+", type=Path, metavar="SRC", help="photographs, or folders searched recursively")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results; a.jpg becomes a.png")
    parser.add_argument("--model", required=True, type=Path, metavar="FILE", help=".safetensors, or a checkpoint of a run")
    parser.add_argument("--scale", type=int, default=4, help="must be the model's scale (default 4)")
    parser.add_argument("--steps", type=int, default=1, help="sampling steps: 1 is the most faithful, more add texture (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampler's noise (default 0)")
    return parser


def collect(sources: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """Pair every input with its output below `out`; folders keep their structure.

    A name that two inputs of one folder share (`a.jpg`, `a.png`) keeps its suffix: `a.jpg.png`.

    Raises:
        ValueError: If a folder holds no image, or a result would lie beside its original or replace another result.
    """
    from lsr.images import find_images

    inputs: list[tuple[Path, Path]] = []
    for source in sources:
        found = [path for path in find_images(source) if out.resolve() not in path.resolve().parents] if source.is_dir() else [source]
        if not found:
            raise ValueError(f"{source}: no images in this folder")
        inputs += [(path, out / (path.relative_to(source) if source.is_dir() else path.name)) for path in found]
    stems = [target.with_suffix("") for _, target in inputs]
    counts = Counter(stems)
    pairs = [
        (path, target.with_name(target.name + ".png") if counts[stem] > 1 else target.with_suffix(".png"))
        for (path, target), stem in zip(inputs, stems, strict=True)
    ]
    by_target: dict[Path, Path] = {}
    for path, target in pairs:
        if target in by_target:
            raise ValueError(f"{by_target[target]} and {path} would both be written to {target}")
        if target.resolve().parent == path.resolve().parent:
            raise ValueError(f"the result of {path} would lie among the originals: choose another --out")
        by_target[target] = path
    return pairs


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out} is not a folder")
    pairs = collect(options.src, options.out)

    from rich.console import Console
    from rich.progress import Progress
    from torch import OutOfMemoryError

    from lsr.images import UnreadableImage, read_photograph, write_png
    from lsr.inference import Upscaler

    upscaler = Upscaler.from_pretrained(options.model, options.steps, options.seed)
    if options.scale != upscaler.scale:
        sys.stderr.write(f"lsr upscale: {options.model} is a model for scale {upscaler.scale}, not {options.scale}\n")
        return BAD_USAGE
    failed = 0
    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        for source, target in progress.track(pairs, description="upscaling"):
            try:
                write_png(target, upscaler.upscale(read_photograph(source)))
            except (UnreadableImage, MemoryError, OutOfMemoryError, OSError) as error:
                failed += 1
                message = str(error) if isinstance(error, UnreadableImage) else f"{source}: {error}"
                progress.console.print(f"failed: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.stdout.write(f"{len(pairs) - failed} of {len(pairs)} images upscaled to {options.out}\n")
    return SOME_FAILED if failed else DONE
