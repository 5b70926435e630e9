"""What `lsr upscale --tags` means: the text that guides each photograph."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lsr.datasets.tags import FolderTags
from lsr.guidance.taggers.registry import Tagger, load_tagger
from lsr.images import UnreadableImage, read_rgb8
from lsr.progress_bar import progress_bar

SIDECAR, AUTO, NONE = "sidecar", "auto", "none"
"""From tags.jsonl or the .txt beside each photograph; by a tagger; without. Anything else is a list of tags for all."""


def tagger_of(choice: str, name: str, weights: str | None, tags_list: Path | None) -> Tagger | None:
    """Load the tagger that the choice asks for, None if it asks for none.

    Raises:
        ValueError: If the tagger cannot be loaded.
    """
    if choice != AUTO:
        return None
    if weights is None:
        raise ValueError(
            "--tags auto needs --tagger-weights (see lsr tag --help); --tags none goes without"
        )
    return load_tagger(name, weights, tags_list)


def texts_for(
    photographs: Sequence[Path], sources: Sequence[Path], choice: str, tagger: Tagger | None
) -> Mapping[Path, str]:
    """Return the text of every photograph.

    Args:
        photographs: Files, each one of `sources` or below one.
        sources: As on the command line.
        choice: `SIDECAR`, `AUTO`, `NONE`, or tags separated by commas.
        tagger: For `AUTO`. It sees the LR photographs; of one that cannot be read the text is empty, upscaling will name it.

    Raises:
        ValueError: If a `tags.jsonl` is damaged.
    """
    if tagger is not None:
        texts: dict[Path, str] = {}
        with progress_bar("tagging", len(photographs), "photographs") as bar:
            for path in photographs:
                try:
                    texts[path] = ", ".join(tagger(read_rgb8(path)))
                except UnreadableImage:
                    texts[path] = ""
                bar.advance(1)
        return texts
    if choice == SIDECAR:
        roots = {
            folder: FolderTags(folder)
            for folder in (source if source.is_dir() else source.parent for source in sources)
        }
        return {
            path: ", ".join(
                next(tags(path) for root, tags in roots.items() if root in path.parents)
            )
            for path in photographs
        }
    return dict.fromkeys(photographs, "" if choice == NONE else choice)


def note_ignored_options(guidance: str, choice: str, guidance_scale: float) -> None:
    """Tell which options a model that takes no tags ignores; one that looks at the photograph itself still has a guidance scale."""
    ignored = ["--tags"] * (choice not in (SIDECAR, NONE)) + ["--guidance-scale"] * (
        guidance == "none" and guidance_scale != 1
    )
    if ignored:
        verb = "has" if len(ignored) == 1 else "have"
        sys.stderr.write(
            f"lsr upscale: the model was trained without tags, {' and '.join(ignored)} {verb} no effect\n"
        )
