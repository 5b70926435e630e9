"""Taggers by name."""

from pathlib import Path
from typing import Protocol

import numpy as np

from lsr.guidance.vocabulary import read_vocabulary

TAGGERS = ("ram++", "ram", "clip")
"""RAM++ and RAM with their 4585 tags; CLIP or SigLIP with a list of one's own."""


class Tagger(Protocol):
    """Tags photographs."""

    def __call__(self, pixels: np.ndarray) -> tuple[str, ...]:
        """Return the tags of a photograph (H, W, 3) uint8, the surest first."""
        ...


def load_tagger(name: str, weights: str, tags_list: Path | None) -> Tagger:
    """Load a tagger on a GPU where there is one.

    Args:
        name: One of `TAGGERS`.
        weights: Of RAM the published file; of CLIP or SigLIP a folder of transformers or a name on the hub.
        tags_list: Of CLIP or SigLIP the tags, see `read_vocabulary`.

    Raises:
        ValueError: If something is missing, damaged, or does not belong together.
    """
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "clip":
        from lsr.guidance.taggers.zero_shot import ZeroShotTagger

        if tags_list is None:
            raise ValueError(
                "the tagger clip needs --tags-list FILE: one tag a line, or a tags.jsonl"
            )
        return ZeroShotTagger(weights, read_vocabulary(tags_list, words=False), device)
    from lsr.guidance.taggers.ram import RAMTagger

    if tags_list is not None:
        raise ValueError(f"the tagger {name} knows its own tags: --tags-list is for clip")
    return RAMTagger(Path(weights), name == "ram++", device)
