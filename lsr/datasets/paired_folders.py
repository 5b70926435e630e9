"""Pairs of LR and HR photographs on disk, told by folder and name."""

import re
from pathlib import Path

from lsr.images import find_images

FOLDERS = (("LR", "HR"), ("test_LR", "test_HR"), ("lq", "gt"), ("LQ", "GT"), ("lr", "hr"))
"""Names of the LR and the HR folder inside a data set, in the order they are looked for."""

_ROLE = re.compile(r"([-_](lr|hr|lq|gt)\d*|[-_]?x\d+)$", re.IGNORECASE)


def paired_folders(dataset: Path) -> tuple[Path, Path]:
    """Return the LR and the HR folder of a data set.

    Raises:
        ValueError: If it has no two folders named as in `FOLDERS`.
    """
    for lr, hr in FOLDERS:
        if (dataset / lr).is_dir() and (dataset / hr).is_dir():
            return dataset / lr, dataset / hr
    raise ValueError(
        f"{dataset}: no folders {', '.join('/'.join(pair) for pair in FOLDERS)} with pairs in it"
    )


def find_pairs(lr_folder: Path, hr_folder: Path) -> list[tuple[Path, Path]]:
    """Return the (LR, HR) files of two folders, sorted by name.

    The names of a pair are the same but for their suffix, or for what tells the role: `a_LR4.png` and `a_HR.png` (RealSR),
    `a_x4.png` and `a_x1.png` (DRealSR), `0801x4.png` and `0801.png` (DIV2K).

    Raises:
        ValueError: If a folder is missing or empty, a photograph has no partner, or two have the same name.
    """
    lr, hr = images_by_name(lr_folder, plain=True), images_by_name(hr_folder, plain=True)
    if lr.keys() != hr.keys():
        lr, hr = images_by_name(lr_folder, plain=False), images_by_name(hr_folder, plain=False)
    alone = sorted(lr.keys() ^ hr.keys())
    if alone:
        file, other = (lr[alone[0]], hr_folder) if alone[0] in lr else (hr[alone[0]], lr_folder)
        raise ValueError(f"{file} has no partner in {other}; {len(alone)} photographs have none")
    return [(lr[name], hr[name]) for name in sorted(lr)]


def stem_without_role(name: str) -> str:
    """Take away from a name what tells the role of the photograph."""
    return _ROLE.sub("", name)


def images_by_name(folder: Path, plain: bool) -> dict[str, Path]:
    """Return the photographs below a folder by their relative names without suffix, or, unless `plain`, without what tells their role.

    Raises:
        ValueError: If there are none, or two have the same name.
    """
    files: dict[str, Path] = {}
    for path in find_images(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        name = name if plain else stem_without_role(name)
        if name in files:
            raise ValueError(
                f"{path} and {files[name].name} have the same name but for what tells their role"
            )
        files[name] = path
    if not files:
        raise ValueError(f"{folder}: no photographs there")
    return files
