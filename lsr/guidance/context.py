"""What guides the denoiser besides the LR image: tags, words, or what a frozen encoder makes of a text or of the LR image itself.

| guidance | context | weights |
|---|---|---|
| none | nothing; the cross-attention is left out | – |
| tags | one learned embedding per tag of a closed vocabulary | in the model file |
| words | one learned embedding per word of a caption, in its order | in the model file |
| text | a language model's states for the tags, or for a caption | the user's, frozen; kept on disk before training |
| visual | an image encoder's patches of the LR image | the user's, frozen |

The text of an image is what its batch has under `tags`: tags separated by commas, or a caption.
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
"""Tokens of a context at most, as in SANA; what is beyond is dropped, and counted where it is told."""

_NULL = 3  # use of a sample's seed; the others are named in lsr.training.module


class ContextEncoder(Protocol):
    """Makes rows of tokens, one for each image."""

    def prepare(self) -> None:
        """Look for the weights that are needed.

        Raises:
            ValueError: If they are missing, damaged, or of another size.
        """
        ...

    def remember(self, texts: Iterable[str]) -> None:
        """Learn which texts will be asked for; what is slow is done here, before training."""
        ...

    def __call__(self, texts: Sequence[str], lr: Tensor) -> list[Tensor]:
        """Return the tokens (L, context_dim), or indices (L,), of each text, or of each image of `lr` (B, 3, h, w) in [-1, 1]."""
        ...


def context_encoder(config: "DenoiserConfig") -> ContextEncoder | None:
    """Return what makes the context of a model; None for one without."""
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
        encoder: Makes the tokens.
        texts: One per image.
        lr: (B, 3, h, w) in [-1, 1].
    """
    rows = [row.to(lr.device) for row in encoder(texts, lr)]
    longest = max(1, *(len(row) for row in rows))
    tokens = torch.stack(
        [F.pad(row, (0, 0) * (row.ndim - 1) + (0, longest - len(row))) for row in rows]
    )
    lengths = torch.tensor([len(row) for row in rows], device=lr.device)
    return Context(tokens, torch.arange(longest, device=lr.device) < lengths[:, None])


def shuffled(context: Context) -> Context:
    """Return the context with every image given its neighbour's."""
    return Context(context.tokens.roll(1, 0), context.mask.roll(1, 0))


def drop_context(context: Context, seeds: Tensor, null_ratio: float) -> Context:
    """Take the context away from a share of the samples: a function of each sample's seed.

    Args:
        context: Of a batch.
        seeds: (B,) integers in [0, 2^31).
        null_ratio: Probability, in [0, 1].
    """
    draw = torch.special.ndtr(seeded_normal(seeds, (), _NULL, context.mask.device))
    return context._replace(mask=context.mask & (draw >= null_ratio)[:, None])
