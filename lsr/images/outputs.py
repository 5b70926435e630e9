"""Which input file becomes which output file."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from lsr.images.files import IMAGE_SUFFIXES, find_images


def collect(
    sources: Sequence[Path],
    out: Path,
    suffix_of: Callable[[Path], str] = lambda path: ".png",
    recursive: bool = True,
    suffixes: Collection[str] | None = None,
) -> list[tuple[Path, Path]]:
    """Pair every input with its output below `out`; folders keep their structure.

    A name that two inputs of one folder share (`a.jpg`, `a.png`) keeps its suffix: `a.jpg.png`.

    Args:
        sources: Files and folders.
        out: Folder of the outputs.
        suffix_of: Gives the suffix of an input's output.
        recursive: Whether folders are searched recursively.
        suffixes: What is taken from folders; by default the images that can be read.

    Raises:
        ValueError: If a folder holds no image, or a result would lie beside its original or replace another result.
    """
    inputs: list[tuple[Path, Path]] = []
    for source in sources:
        found = [source]
        if source.is_dir():
            found = find_images(source, recursive, suffixes or IMAGE_SUFFIXES)
            found = [path for path in found if out.resolve() not in path.resolve().parents]
        if not found:
            raise ValueError(f"{source}: no images in this folder")
        inputs += [
            (path, out / (path.relative_to(source) if source.is_dir() else path.name))
            for path in found
        ]
    targets = [target.with_suffix(suffix_of(path)) for path, target in inputs]
    counts = Counter(targets)
    pairs = [
        (path, target.with_name(target.name + suffix_of(path)) if counts[simple] > 1 else simple)
        for (path, target), simple in zip(inputs, targets, strict=True)
    ]
    by_target: dict[Path, Path] = {}
    for path, target in pairs:
        if target in by_target:
            raise ValueError(f"{by_target[target]} and {path} would both be written to {target}")
        if target.resolve().parent == path.resolve().parent:
            raise ValueError(
                f"the result of {path} would lie among the originals: choose another --out"
            )
        by_target[target] = path
    return pairs
