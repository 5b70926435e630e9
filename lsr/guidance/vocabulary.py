"""Tags and words as indices of a closed vocabulary; their embeddings are the denoiser's own."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lsr.datasets.tags import read_listed, tidy_tags

log = logging.getLogger(__name__)

_WORD = re.compile(r"[\w'-]+")


def split_text(text: str, words: bool) -> list[str]:
    """Split a text at its commas into tags, or into words; upper case is lowered."""
    return _WORD.findall(text.lower()) if words else [tag.lower() for tag in tidy_tags(text)]


def read_vocabulary(path: Path, words: bool) -> tuple[str, ...]:
    """Return the tags, or words, that a file has, sorted.

    Args:
        path: A list of photographs as `tags.jsonl`, or text, one tag a line.
        words: Take the words of the tags, or captions, one by one.

    Raises:
        ValueError: If the file is missing, damaged or empty.
    """
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file of tags for a vocabulary (lsr tag makes one, or write one)"
        )
    if path.suffix == ".jsonl":
        texts: Iterable[str] = (", ".join(tags) for tags in read_listed(path).values())
    else:
        try:
            texts = path.read_text("utf-8").split("\n")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not UTF-8") from None
    vocabulary = tuple(sorted({entry for text in texts for entry in split_text(text, words)}))
    if not vocabulary:
        raise ValueError(f"{path}: no tags for a vocabulary there")
    return vocabulary


class VocabularyIndices:
    """Looks tags, or words, up in a vocabulary. What has no embedding is dropped; `remember` counts and tells it.

    Args:
        vocabulary: In the order of the embeddings.
        words: Split texts into words, not at commas.
        max_tokens: Indices per image at most.

    Raises:
        ValueError: If the vocabulary is empty.
    """

    def __init__(self, vocabulary: Sequence[str], words: bool, max_tokens: int) -> None:
        if not vocabulary:
            raise ValueError(
                "guidance by tags or words needs a vocabulary: name a file of tags with --model.vocabulary, or list them"
            )
        self.words, self.max_tokens = words, max_tokens
        self._index = {entry.lower(): i for i, entry in enumerate(vocabulary)}

    def prepare(self) -> None:
        """Nothing is needed."""

    def remember(self, texts: Iterable[str]) -> None:
        """Tell how many entries the vocabulary does not know, and how many images have more than are used."""
        known = cut = 0
        unknown: Counter[str] = Counter()
        for text in texts:
            indices, missing = self._look_up(text)
            known, cut = known + len(indices), cut + (len(indices) > self.max_tokens)
            unknown.update(missing)
        if unknown:
            log.warning(
                "%d of %d tags of the photographs are not in the vocabulary and are dropped, %r for one",
                unknown.total(),
                known + unknown.total(),
                unknown.most_common(1)[0][0],
            )
        if cut:
            log.warning(
                "%d photographs have more than %d tags: the rest of each is dropped",
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
        entries = split_text(text, self.words)
        return [self._index[entry] for entry in entries if entry in self._index], [
            entry for entry in entries if entry not in self._index
        ]
