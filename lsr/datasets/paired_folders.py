"""Pairs of LR and HR photographs on disk, found by the names of their folders and files."""

import re
from collections.abc import Sequence
from pathlib import Path

from lsr.datasets.layouts import find_layout, role_of_file
from lsr.files import check_folder
from lsr.images import find_images

FOLDERS = (("LR", "HR"), ("test_LR", "test_HR"), ("lq", "gt"), ("LQ", "GT"), ("lr", "hr"))
"""Names of the LR and the HR folder of data sets; `lsr.datasets.layouts` has all layouts."""

_ROLE = re.compile(r"([-_](lr|hr|lq|gt)\d*|[-_]?x\d+[mdw]?)+$", re.IGNORECASE)
"""The end of a name that gives the role of a photograph, such as `_LR4`, `_HR` or `x4`."""


def paired_folders(dataset: Path, scale: int | None = None) -> tuple[Path, Path]:
    """Return the LR and the HR folder of a data set; for `scale` see `find_layout`.

    Raises:
        ValueError: There is no such data set, or it has not one of the layouts of
            `lsr.datasets.layouts`.
    """
    check_folder(dataset)
    layout = find_layout(dataset, scale)
    if layout is not None:
        return layout
    *others, last = (f"{lr} and {hr}" for lr, hr in FOLDERS)
    raise ValueError(
        f"{dataset}: needs two folders, one of LR and one of HR photographs, named "
        f"{', '.join(others)}, or {last}"
    )


def find_pairs(lr_folder: Path, hr_folder: Path) -> list[tuple[Path, Path]]:
    """Return the (LR, HR) files of two folders, sorted by name.

    Two files are a pair if their names are equal without the suffix, or without the suffix and the
    role: `a_LR4.png` and `a_HR.png` (RealSR), `a_x4.png` and `a_x1.png` (DRealSR), `0801x4.png` and
    `0801.png` (DIV2K). If both folders are one and the same, the role in the name decides.

    Raises:
        ValueError: A folder is missing or empty, a photograph has no partner, or two photographs of
            a folder have the same name.
    """
    if lr_folder == hr_folder:
        lr, hr = (_images_of_role(lr_folder, role) for role in ("lr", "hr"))
    else:
        lr, hr = (images_by_name(folder, plain=True) for folder in (lr_folder, hr_folder))
        if lr.keys() != hr.keys():
            lr, hr = (images_by_name(folder, plain=False) for folder in (lr_folder, hr_folder))
    alone = sorted(lr.keys() ^ hr.keys())
    if alone:
        name = alone[0]
        file, other = (lr[name], hr_folder) if name in lr else (hr[name], lr_folder)
        raise ValueError(
            f"{file} has no partner of the same name in {other}: add or rename it "
            f"({len(alone)} photographs lack a partner)"
        )
    return [(lr[name], hr[name]) for name in sorted(lr)]


def fits(hr: tuple[int, int], wanted: tuple[int, int], scale: int) -> bool:
    """Return whether an HR photograph, cut at its right and bottom edges, has a wanted size.

    It may exceed the size by less than one LR pixel: a side that is not a multiple of the scale is
    rounded down when LR is made.

    Args:
        hr: Width and height of the HR photograph.
        wanted: Width and height of the LR photograph times the scale.
        scale: HR pixels per LR pixel along each axis.
    """
    return all(0 <= side - needed < scale for side, needed in zip(hr, wanted, strict=True))


def _images_of_role(folder: Path, role: str) -> dict[str, Path]:
    """Return the photographs of a role, "lr" or "hr", in a folder by their names without it."""
    files = [path for path in find_images(folder) if path.parent == folder]
    return {stem_without_role(path.stem): path for path in files if role_of_file(path) == role}


def teacher_files(folder: Path, lr_folder: Path, pairs: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Return a teacher's result for each pair, found by the name of the LR photograph.

    Names are compared as by `find_pairs`; results of other photographs are passed over.

    Args:
        folder: Folder of the results.
        lr_folder: Folder of the LR photographs.
        pairs: The (LR, HR) files.

    Raises:
        ValueError: The folder is missing or empty, or lacks a result.
    """
    check_folder(folder, " of a teacher's results")
    for plain in (True, False):
        found = images_by_name(folder, plain)
        names = [_name(lr, lr_folder, plain) for lr, _ in pairs]
        missing = [lr for (lr, _), name in zip(pairs, names, strict=True) if name not in found]
        if not missing:
            return [found[name] for name in names]
    raise ValueError(
        f"{folder} lacks the teacher's results of {len(missing)} of {len(pairs)} photographs, such "
        f"as {missing[0]}: make them, or remove these photographs"
    )


def _name(path: Path, folder: Path, plain: bool) -> str:
    name = path.relative_to(folder).with_suffix("").as_posix()
    return name if plain else stem_without_role(name)


def stem_without_role(name: str) -> str:
    """Return a name without the part that gives the role, such as `a` for `a_LR4`."""
    return _ROLE.sub("", name)


def images_by_name(folder: Path, plain: bool) -> dict[str, Path]:
    """Return the photographs below a folder by their names relative to it.

    Args:
        folder: The folder.
        plain: Whether the names are only without suffix (True), or also without role (False).

    Raises:
        ValueError: There are no photographs, or two have the same name.
    """
    files: dict[str, Path] = {}
    for path in find_images(folder):
        name = _name(path, folder, plain)
        if name in files:
            raise ValueError(
                f"{path} and {files[name].name} have the same name without suffix"
                + ("" if plain else " and role (such as _LR or x4)")
                + ": rename one of them"
            )
        files[name] = path
    if not files:
        raise ValueError(f"{folder}: no photographs in this folder")
    return files
