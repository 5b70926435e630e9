"""The layouts of published data sets: which folders hold LR photographs, and which hold HR.

| data set | HR | LR |
|---|---|---|
| RealSR and DRealSR crops, DIV2K-Val of StableSR | `HR`, `test_HR`, `gt` | `LR`, `test_LR`, `lq` |
| DIV2K | `DIV2K_valid_HR` | `DIV2K_valid_LR_bicubic/X4`, `DIV2K_valid_LR_mild` |
| Set5, Set14, B100, Urban100 as of EDSR | `HR` | `LR_bicubic/X4` |
| Set5, Set14 as of BasicSR | `GTmod12` or `HR/x4` | `LRbicx4` or `LR/x4` |
| Set5, Set14, Urban100 as of SelfExSR | `image_SRF_4/*_HR.png` | `image_SRF_4/*_LR.png` |
| RealSR, DRealSR | `Test/4/*_HR.png` | `Test/4/*_LR4.png` |
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lsr.images import find_images
from lsr.reading.left_out import LeftOut

log = logging.getLogger(__name__)

_HR_FOLDER = re.compile(r"((?P<set>.*)[-_])?(HR|GT)(mod\d+)?", re.IGNORECASE)
_LR_FOLDER = re.compile(
    r"((?P<set>.*)[-_])?(LR|LQ)([-_]?(bicubic|bic|unknown|mild|difficult|wild))?"
    r"([-_]?x(?P<scale>\d+))?",
    re.IGNORECASE,
)
_SCALE_FOLDER = re.compile(r"x?(?P<scale>\d+)", re.IGNORECASE)
_ROLE_OF_FILE = re.compile(r"[-_](?P<role>LR|LQ|HR|GT)\d*$", re.IGNORECASE)
_ROLES = {"lr": "lr", "lq": "lr", "hr": "hr", "gt": "hr"}


class PairOfFolders(NamedTuple):
    """The LR and the HR folder of a data set; one and the same if the names of files tell.

    Attributes:
        lr: Folder of the LR photographs.
        hr: Folder of the HR photographs.
    """

    lr: Path
    hr: Path


def find_layout(dataset: Path, scale: int | None) -> PairOfFolders | None:
    """Return the LR and the HR folder of a data set of pairs.

    Args:
        dataset: The data set.
        scale: HR pixels per LR pixel along each axis, which decides between LR folders of several
            scales; None if it is not known.

    Returns:
        The folders; None if `dataset` has none with names of LR and HR folders, nor files with such
        names.

    Raises:
        ValueError: Several pairs of folders fit, or LR and HR photographs lie together in another
            way than in a published layout.
    """
    pairs = pairs_of_folders(dataset, scale)
    if len(pairs) > 1:
        found = ", ".join(f"{lr.relative_to(dataset)}" for lr, _ in pairs)
        raise ValueError(
            f"{dataset}: several LR folders fit ({found}): name the LR and the HR folder one by one"
        )
    if pairs:
        return pairs[0]
    of_scale = dataset / f"image_SRF_{scale}"
    place = of_scale if of_scale.is_dir() else dataset
    photographs = find_images(dataset)
    if {role_of_file(path) for path in photographs if path.parent == place} == {"lr", "hr"}:
        return PairOfFolders(place, place)
    if {"lr", "hr"} <= {_role_in(path, dataset) for path in photographs}:
        raise ValueError(
            f"{dataset}: holds LR and HR photographs in a layout that is not known: name the "
            "folder of one scale, or the LR and the HR folder one by one"
        )
    return None


def pairs_of_folders(dataset: Path, scale: int | None) -> list[PairOfFolders]:
    """Return all LR and HR folders of a scale in a data set that belong together by their names."""
    folders = sorted(path for path in dataset.iterdir() if path.is_dir())
    hr_folders = {path: name for path in folders if (name := _HR_FOLDER.fullmatch(path.name))}
    lr_folders = {path: name for path in folders if (name := _LR_FOLDER.fullmatch(path.name))}
    return [
        PairOfFolders(lr_of_scale, hr_of_scale)
        for hr, hr_name in hr_folders.items()
        for lr, lr_name in lr_folders.items()
        if (hr_name["set"] or "").lower() == (lr_name["set"] or "").lower()
        and (lr_name["scale"] is None or scale in (None, int(lr_name["scale"])))
        for lr_of_scale in _of_scale(lr, scale)
        for hr_of_scale in _of_scale(hr, _scale_of(lr_of_scale))
    ]


def _scale_of(folder: Path) -> int | None:
    """Return the scale that the name of a folder such as `X4` says."""
    name = _SCALE_FOLDER.fullmatch(folder.name)
    return None if name is None else int(name["scale"])


def of_one_role(photographs: Sequence[Path], dataset: Path, role: str) -> list[Path]:
    """Return the photographs of a folder without those of the other role, if it holds pairs.

    A warning tells how many are left out.

    Args:
        photographs: Photographs below the folder.
        dataset: The folder.
        role: "lr" or "hr": the photographs to keep.
    """
    others = {pair.hr if role == "lr" else pair.lr for pair in pairs_of_folders(dataset, None)}
    left_out = LeftOut(dataset)
    kept = []
    for path in photographs:
        if others.isdisjoint(path.parents):
            kept.append(path)
        else:
            left_out.add(f"{'HR' if role == 'lr' else 'LR'} photographs of pairs", path)
    left_out.tell(log)
    return kept


def _of_scale(folder: Path, scale: int | None) -> Sequence[Path]:
    """Return the folders of a scale in a folder, or this folder itself if it has none of scales."""
    scales = {
        path: found
        for path in sorted(folder.iterdir())
        if path.is_dir() and (found := _scale_of(path)) is not None
    }
    if not scales:
        return [folder]
    return [path for path, found in scales.items() if scale in (None, found)]


def role_of_file(path: Path) -> str | None:
    """Return "lr" or "hr" if the name of a file ends in such a role, as `a_LR4.png`; else None."""
    match = _ROLE_OF_FILE.search(path.stem)
    return None if match is None else _ROLES[match["role"].lower()]


def _role_in(path: Path, dataset: Path) -> str | None:
    """Return "lr" or "hr" if a file or a folder above it in a data set has such a name."""
    for folder in path.relative_to(dataset).parts[:-1]:
        if _LR_FOLDER.fullmatch(folder):
            return "lr"
        if _HR_FOLDER.fullmatch(folder):
            return "hr"
    return role_of_file(path)
