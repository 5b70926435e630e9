"""Find the images of an evaluation: LR photographs, their HR photographs, and the results."""

import contextlib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lsr.datasets.layouts import find_layout
from lsr.datasets.paired_folders import find_pairs, images_by_name, stem_without_role
from lsr.datasets.tags import FolderTags
from lsr.images import UnreadableImage, probe
from lsr.images.outputs import collect
from lsr.reading.left_out import LeftOut

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """An LR photograph, its HR photograph, and the result of one method for it.

    Attributes:
        name: Path of the LR photograph relative to its folder, without suffix.
        lr: File of the LR photograph.
        hr: File of the HR photograph; None if there is none.
        sr: File of the result, which a model may not have written yet. None for a missing
            prediction, and for upsampling to an unknown size.
        inputs: First 16 digits of a SHA-256 of all inputs of this image: the contents of the files,
            the tags, and `size`. The settings of the evaluation are not part of it.
        tags: Contents of the LR photograph in words, separated by commas, for a model that is
            guided by tags. Empty for predictions and upsampling.
        size: Width and height of the result of upsampling; None for other methods.
        originals: SHA-256 of the LR file followed by that of the HR file. `inputs` of other methods
            are derived from it without reading the files again.
    """

    name: str
    lr: Path
    hr: Path | None
    sr: Path | None
    inputs: str
    tags: str = ""
    size: tuple[int, int] | None = None
    originals: bytes = b""


def find_items(
    data: Path, targets: Path | None, predictions: Path | None, out: Path, scale: int | None = None
) -> list[Item]:
    """Return the images to evaluate, sorted by name.

    Args:
        data: Folder of LR photographs, or of a data set with an LR and an HR folder, see
            `lsr.datasets.paired_folders`.
        targets: Folder of HR photographs. If given, `data` is the folder of LR photographs.
        predictions: Folder of existing results, named like the LR or the HR photographs; None if a
            model makes the results.
        out: Folder for the results of the model.
        scale: Scale of the model, which decides between LR folders of several scales.

    Raises:
        ValueError: If there are no photographs, a pair is not complete, no prediction has the name
            of a photograph, or a `tags.jsonl` is damaged.
    """
    layout = find_layout(data, scale) if targets is None else None
    if layout is not None:
        data, targets = layout
    partners = {} if targets is None else dict(find_pairs(data, targets))
    made = [pair for pair in collect([data], out) if targets is None or pair[0] in partners]
    names = {lr: target.relative_to(out).with_suffix("").as_posix() for lr, target in made}
    tags_of = FolderTags(data) if predictions is None else lambda photograph: ()
    items = []
    for lr, sr in sorted(made, key=lambda pair: names[pair[0]]):
        hr = partners.get(lr)
        tags = ", ".join(tags_of(lr))
        originals = _digests_of_files([lr, hr])
        inputs = _inputs(tags, originals)
        items.append(Item(names[lr], lr, hr, sr, inputs, tags, originals=originals))
    return items if predictions is None else predicted_items(items, predictions)


def predicted_items(items: Sequence[Item], folder: Path) -> list[Item]:
    """Return the same photographs with existing results of another method.

    Args:
        items: Images from `find_items`.
        folder: Folder of the results, named like the LR or the HR photographs. `sr` is None for an
            image without a result.

    Raises:
        ValueError: If no result has the name of one of the photographs.
    """
    results = _results_by_photograph([(item.lr, item.name) for item in items], folder)
    predicted = []
    for item in items:
        sr = results.get(item.lr)
        inputs = _inputs("", item.originals + _digests_of_files([sr]))
        predicted.append(replace(item, sr=sr, inputs=inputs, tags=""))
    return predicted


def upsampled_items(items: Sequence[Item], scale: int | None, folder: Path) -> list[Item]:
    """Return the same photographs with results of upsampling, as large as the given results.

    Args:
        items: Images from `find_items`.
        scale: Scale of the model that makes the given results; None for predictions, whose files
            have a size already.
        folder: Folder for the upsampled images. `sr` is None if the size is unknown because the
            given result is missing or unreadable too.
    """
    upsampled = []
    for item in items:
        size = _size_of_result(item, scale)
        sr = None if size is None else folder / f"{item.name}.png"
        inputs = _inputs(f"{size}", item.originals)
        upsampled.append(replace(item, sr=sr, inputs=inputs, tags="", size=size))
    return upsampled


def _size_of_result(item: Item, scale: int | None) -> tuple[int, int] | None:
    """Return width and height of the result of an image; None if its file cannot be read."""
    with contextlib.suppress(UnreadableImage):
        if scale is not None:
            width, height = probe(item.lr)
            return scale * width, scale * height
        if item.sr is not None:
            return probe(item.sr)
    return None


def digest_of_photographs(items: Sequence[Item]) -> str:
    """Return a SHA-256 of the LR and HR files of all images, whatever their names and order are."""
    return hashlib.sha256(b"".join(sorted(item.originals for item in items))).hexdigest()


def _results_by_photograph(
    photographs: Sequence[tuple[Path, str]], folder: Path
) -> dict[Path, Path]:
    """Return the result of each LR photograph that has one.

    Args:
        photographs: Files and names of the LR photographs.
        folder: Folder of the results.

    Raises:
        ValueError: If no result has the name of one of the photographs.
    """
    files = images_by_name(folder, plain=True)
    found = {lr: files[name] for lr, name in photographs if name in files}
    if not found:
        # The results may be named like the HR photographs: "1_HR" belongs to "1_LR4".
        files = images_by_name(folder, plain=False)
        stems = [(lr, stem_without_role(name)) for lr, name in photographs]
        found = {lr: files[stem] for lr, stem in stems if stem in files}
    if not found:
        found = _with_endings(photographs, images_by_name(folder, plain=True))
    if not found:
        raise ValueError(
            f"{folder}: none of its files has the name of one of the {len(photographs)} LR "
            f"photographs, such as {photographs[0][1]}; name the results like the photographs"
        )
    left_out = LeftOut(folder)
    for result in sorted(set(files.values()) - set(found.values())):
        left_out.add("results without a photograph of their name", result)
    left_out.tell(log)
    return found


def _with_endings(
    photographs: Sequence[tuple[Path, str]], files: Mapping[str, Path]
) -> dict[Path, Path]:
    """Return the results whose names add an ending to those of the LR photographs.

    Programs write `a_out.png`, `a_SwinIR.png` or `a-sr.png` for `a.png`. The endings of a folder
    must be the same: with `a` and `a_b`, `a_b.png` may belong to either.
    """
    endings = [
        {name[len(prefix) :] for name in files if name.startswith((prefix + "_", prefix + "-"))}
        for _, prefix in photographs
    ]
    several = [each for each in endings if each]  # a photograph may lack its result
    common = set.intersection(*several) if several else set()
    if len(common) != 1:
        return {}
    ending = common.pop()
    return {lr: files[name + ending] for lr, name in photographs if name + ending in files}


def _digests_of_files(paths: Sequence[Path | None]) -> bytes:
    """Return the SHA-256 of each existing file, one after the other."""
    digests = []
    for path in paths:
        if path is not None:
            # A file that cannot be opened is reported when its image is processed.
            with contextlib.suppress(OSError):
                digests.append(hashlib.sha256(path.read_bytes()).digest())
    return b"".join(digests)


def _inputs(words: str, digests: bytes) -> str:
    """Return the `inputs` of an item from its tags or its size, and the digests of its files."""
    return hashlib.sha256(words.encode() + digests).hexdigest()[:16]
