"""Tags by CLIP or SigLIP through transformers: a list of tags, and how near the photograph is to each."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lsr.guidance.pretrained import loaded, pretrained_folder

_PROMPT = "a photo of {}."
_MOST = 10
_SHARE = 0.1  # a tag counts if it is this much as probable as the surest
_BATCH = 64


class ZeroShotTagger:
    """Takes the tags that are at least a tenth as probable as the surest one, ten at most.

    Probable means: CLIP's softmax over the list, SigLIP's sigmoid for each tag.

    Args:
        source: A folder of transformers, or a name on the hub, of CLIP or SigLIP.
        tags: To choose from.
        device: Where to compute.

    Raises:
        ValueError: If the model is missing, damaged, or of another kind.
    """

    def __init__(self, source: str, tags: Sequence[str], device: torch.device) -> None:
        from transformers import AutoModel, AutoProcessor

        folder = pretrained_folder(source, "tagger")
        self.tags, self.device = tuple(tags), device
        self._processor = loaded(AutoProcessor.from_pretrained, folder, "processor of the tagger")
        self._model = (
            loaded(AutoModel.from_pretrained, folder, "tagger", dtype=torch.float32)
            .to(device)
            .eval()
        )
        kind = self._model.config.model_type
        if not kind.startswith(("clip", "siglip")) or not hasattr(self._model, "logit_scale"):
            raise ValueError(f"{source} is a {kind}, neither CLIP nor SigLIP")
        self._sigmoid = kind.startswith("siglip")
        blank = np.zeros((32, 32, 3), np.uint8)
        batches = [self.tags[start : start + _BATCH] for start in range(0, len(self.tags), _BATCH)]
        self._texts = torch.cat(
            [self._embed([_PROMPT.format(tag) for tag in batch], blank)[0] for batch in batches]
        )

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> tuple[str, ...]:
        """Return the tags of a photograph (H, W, 3) uint8, the surest first."""
        _, image = self._embed([""], pixels)
        logits = image[0] @ self._texts.T * self._model.logit_scale.exp()
        probabilities = (
            (logits + self._model.logit_bias).sigmoid() if self._sigmoid else logits.softmax(-1)
        )
        surest = probabilities.topk(min(_MOST, len(self.tags)))
        chosen = surest.indices[surest.values >= _SHARE * surest.values[0]]
        return tuple(self.tags[i] for i in chosen.tolist())

    @torch.no_grad()
    def _embed(self, texts: Sequence[str], pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the embeddings, of unit length, of texts (T, E) and of a photograph (1, E)."""
        words = self._processor.tokenizer(
            list(texts),
            padding="max_length" if self._sigmoid else True,
            truncation=True,
            return_tensors="pt",
        )  # SigLIP was trained with padding
        image = self._processor.image_processor(
            images=pixels, input_data_format="channels_last", return_tensors="pt"
        )
        out = self._model(
            input_ids=words["input_ids"].to(self.device),
            pixel_values=image["pixel_values"].to(self.device),
        )
        return out.text_embeds, out.image_embeds
