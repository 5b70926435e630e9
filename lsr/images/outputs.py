"""Naming the output file of every input file."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from lsr.images.finding import find_images
from lsr.images.reading import IMAGE_SUFFIXES

WRITTEN_FORMATS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".jif": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""Format of a result with each suffix."""


def suffix_of_same_format(path: Path) -> str:
    """Return the suffix of a result in the format of its input, `.png` if we do not write that."""
    return path.suffix if path.suffix.lower() in WRITTEN_FORMATS else ".png"


def collect(
    sources: Sequence[Path],
    out: Path,
    suffix_of: Callable[[Path], str] = lambda path: ".png",
    recursive: bool = True,
    suffixes: Collection[str] | None = None,
    choose: Callable[[Sequence[Path], Path], Sequence[Path]] = lambda found, folder: found,
) -> list[tuple[Path, Path]]:
    """Return the pairs (input file, output file) for some files and folders.

    The outputs lie below `out`, with the structure of the input folders. If two inputs would give
    the same name (`a.jpg` and `a.png`), their outputs keep the old suffix: `a.jpg.png`.

    Args:
        sources: Input files and folders.
        out: Folder of the outputs.
        suffix_of: Function that returns the suffix of an input's output.
        recursive: Whether to search folders recursively.
        suffixes: Suffixes of the files to take from folders; None takes `IMAGE_SUFFIXES`.
        choose: Function that returns those of the files found in a folder that are inputs; its
            arguments are these files and the folder.

    Raises:
        ValueError: None of the sources exists, a folder holds no image, an output would lie in the
            folder of its input, or two inputs would have the same output.
    """
    if sources and not any(os.path.lexists(source) for source in sources):
        raise ValueError(f"{sources[0]}: no such file or folder; check the path")
    inputs: list[tuple[Path, Path]] = []
    for source in sources:
        if source.is_dir():
            found = _images_in(source, out, recursive, suffixes or IMAGE_SUFFIXES)
            inputs += [(path, out / path.relative_to(source)) for path in choose(found, source)]
        else:
            inputs.append((source, out / source.name))
    inputs = list(dict.fromkeys(inputs))  # a photograph may be named beside its folder
    targets = [target.with_suffix(suffix_of(path)) for path, target in inputs]
    counts = Counter(targets)
    pairs: list[tuple[Path, Path]] = []
    for (path, with_old_suffix), target in zip(inputs, targets, strict=True):
        if counts[target] > 1:
            target = with_old_suffix.with_name(with_old_suffix.name + suffix_of(path))
        pairs.append((path, target))
    _check(pairs)
    return pairs


def _images_in(
    folder: Path, out: Path, recursive: bool, suffixes: Collection[str]
) -> Sequence[Path]:
    """Return the images of a folder, see `collect`."""
    real_out = out.resolve()
    if folder.resolve().is_relative_to(real_out):
        raise ValueError(
            f"the photographs of {folder} lie in the folder of the results, {out}: choose another "
            "--out"
        )
    found = find_images(folder, recursive, suffixes)
    # `out` may lie inside the folder and hold the results of an earlier run.
    places = _RealFolders()
    found = [path for path in found if not places.of(path).is_relative_to(real_out)]
    if not found:
        raise ValueError(f"{folder}: no images in this folder")
    return found


class _RealFolders:
    """The folders of files, without links; the file system is asked about each of them once."""

    def __init__(self) -> None:
        self._known: dict[Path, Path] = {}

    def of(self, path: Path) -> Path:
        """Return the folder in which a file lies when all links are followed."""
        if path.is_symlink():
            return path.resolve().parent
        if path.parent not in self._known:
            self._known[path.parent] = path.parent.resolve()
        return self._known[path.parent]


def _check(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Raise ValueError if an output lies in the folder of its input, or two are the same."""
    places = _RealFolders()
    by_target: dict[Path, Path] = {}
    for path, target in pairs:
        if target in by_target:
            raise ValueError(
                f"the results of {by_target[target]} and {path} would both be written to {target}: "
                "rename one of the two"
            )
        if places.of(target) == places.of(path):
            raise ValueError(
                f"the result of {path} would lie in the folder of the original: choose another "
                "--out"
            )
        by_target[target] = path
