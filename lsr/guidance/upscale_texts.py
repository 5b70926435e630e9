"""Find the text that guides each photograph in `lsr upscale`, according to `--tags`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsr.console.progress_bar import progress_bar
from lsr.datasets.tags import SIDECARS, TAGS, FolderTags
from lsr.guidance.taggers.registry import Tagger, load_tagger
from lsr.images import EncodedImage, UnreadableImage, read_rgb8

SIDECAR = "sidecar"
"""Value of `--tags`: read the tags from `tags.jsonl`, or from a file next to the photograph."""
AUTO = "auto"
"""Value of `--tags`: ask a tagger."""
NONE = "none"
"""Value of `--tags`: use no tags. Any other value is a list of tags for all photographs."""


def tagger_of(choice: str, name: str, weights: str | None, tags_list: Path | None) -> Tagger | None:
    """Load the tagger for `--tags auto`.

    Args:
        choice: Value of `--tags`.
        name: Name of the tagger.
        weights: Weights of the tagger, see `load_tagger`; None if they are not given.
        tags_list: File of tags to choose from, see `load_tagger`.

    Returns:
        The tagger; None if `choice` is not `AUTO`.

    Raises:
        ValueError: If the tagger cannot be loaded.
    """
    if choice != AUTO:
        return None
    if weights is None:
        raise ValueError(
            "--tags auto needs --tagger-weights (see lsr tag --help); --tags none needs no tagger"
        )
    return load_tagger(name, weights, tags_list)


def texts_for(
    photographs: Sequence[Path | EncodedImage], choice: str, tagger: Tagger | None
) -> Mapping[Any, str]:
    """Return the text of every photograph.

    An image in memory has no file beside it: `SIDECAR` returns no text for it.

    Args:
        photographs: Files or images in memory, at least one.
        choice: `SIDECAR`, `AUTO`, `NONE`, or tags separated by commas.
        tagger: The tagger for `AUTO`, which sees the LR photographs; else None.

    Raises:
        ValueError: If a `tags.jsonl` is damaged.
    """
    if tagger is not None:
        return _texts_by_tagger(photographs, tagger)
    if choice == SIDECAR:
        files = [path for path in photographs if isinstance(path, Path)]
        return _texts_of_folders(files) if files else {}
    return dict.fromkeys(photographs, "" if choice == NONE else choice)


def _texts_by_tagger(
    photographs: Sequence[Path | EncodedImage], tagger: Tagger
) -> dict[Path | EncodedImage, str]:
    texts: dict[Path | EncodedImage, str] = {}
    with progress_bar("tagging", len(photographs), "photographs") as bar:
        for path in photographs:
            try:
                texts[path] = ", ".join(tagger(read_rgb8(path)))
            except UnreadableImage:
                # The photograph fails again when it is upscaled, and is reported there.
                texts[path] = ""
            bar.advance(1)
    return texts


def _texts_of_folders(photographs: Sequence[Path]) -> dict[Path, str]:
    """Return the tags of photographs; say how many have none."""
    tags_of = FolderTags(photographs[0].parent)
    texts = {path: ", ".join(tags_of(path)) for path in photographs}
    note_missing_tags(texts)
    return texts


def note_missing_tags(texts: Mapping[Path, str]) -> None:
    """Say how many photographs have no text that could guide a model."""
    without = [path for path, text in texts.items() if not text]
    if without:
        beside = " and ".join(SIDECARS)
        sys.stderr.write(
            f"no tags found for {len(without)} of {len(texts)} photographs, such as {without[0]} "
            f"(looked for {TAGS} there and in the folders above, and for {beside} files)\n"
        )


def note_ignored_options(guidance: str, choice: str, guidance_scale: float) -> None:
    """Warn about options that have no effect on a model that was trained without tags.

    Args:
        guidance: Guidance of the model, "none" or "visual". The guidance scale has no effect on
            "none" only.
        choice: Value of `--tags`.
        guidance_scale: Value of `--guidance-scale`; 1 is no guidance.
    """
    ignored = []
    if choice not in (SIDECAR, NONE):
        ignored.append("--tags")
    if guidance == "none" and guidance_scale != 1:
        ignored.append("--guidance-scale")
    if ignored:
        verb = "has" if len(ignored) == 1 else "have"
        sys.stderr.write(
            "lsr upscale: the model was trained without tags, "
            f"{' and '.join(ignored)} {verb} no effect\n"
        )
