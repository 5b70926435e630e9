"""Encode tags, texts or LR images to the context, the tokens for the denoiser's cross-attention.

| guidance | context | weights |
|---|---|---|
| none | none; the denoiser has no cross-attention | – |
| tags | one learned embedding per tag of a closed vocabulary | in the model file |
| words | one learned embedding per word of a caption, in its order | in the model file |
| text | last hidden states of a language model for tags or a caption | frozen, from the user |
| visual | last hidden states of an image encoder for the LR image | frozen, from the user |

The states of the language model are computed once, before training, and stored on disk. The text of
an image is its entry in `tags` of the batch: tags separated by commas, or a caption.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.batch import Context
from lsr.flow.noise import seeded_normal
from lsr.guidance.text_encoder import FrozenText
from lsr.guidance.visual_encoder import FrozenVisual
from lsr.guidance.vocabulary import VocabularyIndices

if TYPE_CHECKING:
    from lsr.models.denoiser import DenoiserConfig

MAX_TOKENS = 300
"""Largest number of tokens of a context, as in SANA; further tokens are dropped."""

_NULL = 3
"""Random stream of context dropout, see `stream` of `lsr.flow.noise.seeded_normal`."""


class ContextEncoder(Protocol):
    """An encoder that makes a sequence of tokens for each image."""

    def prepare(self) -> None:
        """Find the weights of the encoder.

        Raises:
            ValueError: If they are missing, damaged, or of another width than the context.
        """
        ...

    def prepare_texts(self, texts: Iterable[str]) -> None:
        """Do the slow part of the encoding in advance, for all texts that will be encoded."""
        ...

    def __call__(self, texts: Sequence[str], lr: Tensor) -> list[Tensor]:
        """Return the tokens of each image.

        Args:
            texts: B texts, one for each image.
            lr: LR images (B, 3, h, w) in [-1, 1].

        Returns:
            B tensors: embeddings (L, context_dim), or indices of the vocabulary (L,) int64. L may
            differ between images.
        """
        ...


def context_encoder(config: "DenoiserConfig") -> ContextEncoder | None:
    """Return the context encoder of a configuration; None for a model without guidance."""
    if config.guidance in ("tags", "words"):
        return VocabularyIndices(config.vocabulary, config.guidance == "words", MAX_TOKENS)
    if config.guidance == "none":
        return None
    assert config.guidance_encoder is not None
    if config.guidance == "text":
        return FrozenText(config.guidance_encoder, config.context_dim, MAX_TOKENS)
    return FrozenVisual(config.guidance_encoder, config.context_dim)


def encode(encoder: ContextEncoder, texts: Sequence[str], lr: Tensor) -> Context:
    """Return the context of a batch on the device of its LR images.

    Args:
        encoder: The encoder of the tokens.
        texts: B texts, one for each image.
        lr: LR images (B, 3, h, w) in [-1, 1].
    """
    rows = [row.to(lr.device) for row in encoder(texts, lr)]
    longest = max(1, *(len(row) for row in rows))
    tokens = torch.stack(
        [F.pad(row, (0, 0) * (row.ndim - 1) + (0, longest - len(row))) for row in rows]
    )
    lengths = torch.tensor([len(row) for row in rows], device=lr.device)
    return Context(tokens, torch.arange(longest, device=lr.device) < lengths[:, None])


def shuffled(context: Context) -> Context:
    """Return the context in which every image has the tokens of its neighbour in the batch."""
    return Context(context.tokens.roll(1, 0), context.mask.roll(1, 0))


def drop_context(context: Context, seeds: Tensor, null_ratio: float) -> Context:
    """Mask the whole context of random samples (dropout for classifier-free guidance).

    Whether a sample loses its context depends on its seed alone, not on the batch around it.

    Args:
        context: Context of a batch.
        seeds: Integers (B,) in [0, 2^31).
        null_ratio: Probability in [0, 1] that a sample loses its context.
    """
    # The normal distribution function turns a normal random number into a uniform one.
    draw = torch.special.ndtr(seeded_normal(seeds, (), _NULL, context.mask.device))
    return context._replace(mask=context.mask & (draw >= null_ratio)[:, None])
