"""Load a tagger, the network that names what is in a photograph, by its name.

To add a tagger:

1. Write a class in a new module of this folder. It has one method, that of the protocol `Tagger`:
   `__call__(pixels)` takes a photograph (H, W, 3) of type uint8 and returns its tags, the most
   probable first. Its constructor takes the weights and the device. If a file is missing or
   damaged, it raises a `ValueError` of one line that names the file and says how to get it.
2. Add its name to `TAGGERS` of this package and a branch to `load_tagger`, which imports the module
   only when it is needed. `lsr tag --tagger` and `lsr upscale --tagger` then offer it.
3. Add tests with a small random network, as in tests/guidance/taggers.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

from lsr.guidance.taggers import TAGGERS
from lsr.guidance.vocabulary import read_vocabulary


class Tagger(Protocol):
    """A network that returns the tags of a photograph."""

    def __call__(self, pixels: np.ndarray) -> tuple[str, ...]:
        """Return the tags of a photograph (H, W, 3) uint8, the most probable first."""
        ...


def load_tagger(name: str, weights: str, tags_list: Path | None) -> Tagger:
    """Load a tagger to the GPU, or to the CPU if there is no GPU.

    Args:
        name: One of `TAGGERS`; "clip" loads CLIP or SigLIP.
        weights: For RAM and RAM++ the published file; for CLIP and SigLIP a folder in the format of
            transformers or the name of a model on the Hugging Face hub.
        tags_list: For CLIP and SigLIP the file of tags to choose from, see `read_vocabulary`; None
            for RAM and RAM++.

    Raises:
        ValueError: If a file is missing or damaged, or the arguments do not match the tagger.
    """
    import torch

    assert name in TAGGERS
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "clip":
        from lsr.guidance.taggers.zero_shot import ZeroShotTagger

        if tags_list is None:
            raise ValueError(
                "the tagger clip needs --tags-list FILE: a text file with one tag per line, or a "
                "tags.jsonl"
            )
        return ZeroShotTagger(weights, read_vocabulary(tags_list, words=False), device)
    from lsr.guidance.taggers.ram import RAMTagger

    if tags_list is not None:
        raise ValueError(f"the tagger {name} has its own list of tags: leave out --tags-list")
    return RAMTagger(Path(weights), name == "ram++", device)
