"""Turn tags or words into indices of a closed vocabulary, whose embeddings the denoiser learns."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lsr.datasets.tags import read_listed, tidy_tags
from lsr.reading.texts import read_text

log = logging.getLogger(__name__)

_WORD = re.compile(r"[\w'-]+")


def split_text(text: str, words: bool) -> list[str]:
    """Split a text into words, or else at its commas into tags; all in lower case."""
    return _WORD.findall(text.lower()) if words else [tag.lower() for tag in tidy_tags(text)]


def read_vocabulary(path: Path, words: bool) -> tuple[str, ...]:
    """Return the tags or words of a file, sorted and each once.

    Args:
        path: A `tags.jsonl` (tags or captions of photographs), or a text file with one tag per
            line.
        words: Whether to split tags and captions into words.

    Raises:
        ValueError: If the file is missing, damaged or empty.
    """
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file of tags for a vocabulary; make one with lsr tag, or write a "
            "text file with one tag per line"
        )
    if path.suffix == ".jsonl":
        texts: Iterable[str] = (", ".join(tags) for tags in read_listed(path).values())
    else:
        texts = read_text(path).split("\n")
    vocabulary = tuple(sorted({entry for text in texts for entry in split_text(text, words)}))
    if not vocabulary:
        raise ValueError(f"{path}: no tags for a vocabulary in this file; write one tag per line")
    return vocabulary


class VocabularyIndices:
    """Look up tags or words in a vocabulary.

    Tags that are not in the vocabulary are dropped; `prepare_texts` counts and reports them.

    Args:
        vocabulary: Tags or words in the order of their embeddings.
        words: Whether to split texts into words instead of tags.
        max_tokens: Largest number of indices for an image; further ones are dropped.

    Raises:
        ValueError: If the vocabulary is empty.
    """

    def __init__(self, vocabulary: Sequence[str], words: bool, max_tokens: int) -> None:
        if not vocabulary:
            raise ValueError(
                "guidance by tags or words needs a vocabulary: "
                "give a file of tags with --model.vocabulary, or list them"
            )
        self.words = words
        self.max_tokens = max_tokens
        self._index = {entry.lower(): i for i, entry in enumerate(vocabulary)}

    def prepare(self) -> None:
        """Do nothing: the embeddings are in the model file."""

    def prepare_texts(self, texts: Iterable[str]) -> None:
        """Only check the texts: warn about unknown tags, and about images with too many tags."""
        known = 0
        cut = 0
        unknown: Counter[str] = Counter()
        for text in texts:
            indices, missing = self._look_up(text)
            known += len(indices)
            cut += len(indices) > self.max_tokens
            unknown.update(missing)
        if unknown:
            log.warning(
                "%d of %d tags of the photographs are not in the vocabulary and are dropped, "
                "such as %r",
                unknown.total(),
                known + unknown.total(),
                unknown.most_common(1)[0][0],
            )
        if cut:
            log.warning(
                "%d photographs have more than %d tags: further tags are dropped",
                cut,
                self.max_tokens,
            )

    def __call__(self, texts: Sequence[str], lr: Tensor) -> list[Tensor]:
        """Return the indices (L,) int64 of each text."""
        return [
            torch.tensor(self._look_up(text)[0][: self.max_tokens], dtype=torch.int64)
            for text in texts
        ]

    def _look_up(self, text: str) -> tuple[list[int], list[str]]:
        """Return the indices of the known tags, and the unknown tags."""
        entries = split_text(text, self.words)
        indices = [self._index[entry] for entry in entries if entry in self._index]
        unknown = [entry for entry in entries if entry not in self._index]
        return indices, unknown
