"""Tag photographs by CLIP or SigLIP: choose the most similar tags from a list."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lsr.guidance.pretrained import load_pretrained, pretrained_folder

_PROMPT = "a photo of {}."
_MOST = 10
"""Largest number of tags of a photograph."""
_SHARE = 0.1
"""A tag is taken if it has at least this fraction of the probability of the most probable tag."""
_BATCH = 64


class ZeroShotTagger:
    """Choose at most ten tags, each at least a tenth as probable as the most probable one.

    The probabilities are the softmax over the list of tags for CLIP, and the sigmoid of each tag
    for SigLIP, as in their training.

    Args:
        source: CLIP or SigLIP: a folder in the format of transformers, or the name of a model on
            the Hugging Face hub.
        tags: The tags to choose from.
        device: The device that computes.

    Raises:
        ValueError: If the model is missing or damaged, or is neither CLIP nor SigLIP.
    """

    def __init__(self, source: str, tags: Sequence[str], device: torch.device) -> None:
        from transformers import AutoModel, AutoProcessor

        folder = pretrained_folder(source, "tagger")
        self.tags = tuple(tags)
        self.device = device
        self._processor = load_pretrained(
            AutoProcessor.from_pretrained, folder, "processor of the tagger"
        )
        model = load_pretrained(AutoModel.from_pretrained, folder, "tagger", dtype=torch.float32)
        self._model = model.to(device).eval()
        kind = self._model.config.model_type
        if not kind.startswith(("clip", "siglip")) or not hasattr(self._model, "logit_scale"):
            raise ValueError(
                f"{source} is a {kind}, neither CLIP nor SigLIP, which the tagger clip needs"
            )
        self._sigmoid = kind.startswith("siglip")
        # The model embeds texts and an image in one call; here the image does not matter.
        blank = np.zeros((32, 32, 3), np.uint8)
        batches = [self.tags[start : start + _BATCH] for start in range(0, len(self.tags), _BATCH)]
        self._texts = torch.cat(
            [self._embed([_PROMPT.format(tag) for tag in batch], blank)[0] for batch in batches]
        )

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> tuple[str, ...]:
        """Return the tags of a photograph (H, W, 3) uint8, the most probable first."""
        _, image = self._embed([""], pixels)
        logits = image[0] @ self._texts.T * self._model.logit_scale.exp()
        if self._sigmoid:
            probabilities = (logits + self._model.logit_bias).sigmoid()
        else:
            probabilities = logits.softmax(-1)
        best = probabilities.topk(min(_MOST, len(self.tags)))
        chosen = best.indices[best.values >= _SHARE * best.values[0]]
        return tuple(self.tags[i] for i in chosen.tolist())

    @torch.no_grad()
    def _embed(self, texts: Sequence[str], pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the embeddings of texts (T, E) and of a photograph (1, E), all of unit length."""
        # SigLIP was trained with texts that are padded to the full length.
        padding = "max_length" if self._sigmoid else True
        words = self._processor.tokenizer(
            list(texts), padding=padding, truncation=True, return_tensors="pt"
        )
        image = self._processor.image_processor(
            images=pixels, input_data_format="channels_last", return_tensors="pt"
        )
        out = self._model(
            input_ids=words["input_ids"].to(self.device),
            pixel_values=image["pixel_values"].to(self.device),
        )
        return out.text_embeds, out.image_embeds
