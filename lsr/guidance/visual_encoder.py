"""Encode the LR image by a frozen image encoder (DINOv2, the image model of CLIP or SigLIP)."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.guidance.pretrained import load_pretrained, pretrained_folder, read_config


class FrozenVisual:
    """The last hidden states of a frozen image encoder for the LR image.

    There is one token for each patch, and one for the class if the encoder has a class token.

    Args:
        source: A folder in the format of transformers, or the name of a model on the Hugging Face
            hub.
        width: Number of channels that the hidden states must have.
    """

    def __init__(self, source: str, width: int) -> None:
        self.source = source
        self.width = width
        self._model: Any = None
        self._size = 0
        self._mean = torch.empty(0)
        self._std = torch.empty(0)

    def prepare(self) -> None:
        """Load the encoder.

        Raises:
            ValueError: If the encoder is missing or damaged, or has another width.
        """
        if self._model is not None:
            return
        folder = pretrained_folder(self.source, "image encoder")
        config = read_config(folder, "image encoder")
        width = config.get("vision_config", config).get("hidden_size")
        if width != self.width:
            raise ValueError(
                f"the image encoder {self.source} has {width} channels, not {self.width}: "
                f"set model.denoiser.context_dim to {width}"
            )
        from transformers import AutoImageProcessor, AutoModel

        processor = load_pretrained(AutoImageProcessor.from_pretrained, folder, "image processor")
        self._mean = torch.tensor(processor.image_mean).reshape(3, 1, 1)
        self._std = torch.tensor(processor.image_std).reshape(3, 1, 1)
        self._size = (getattr(processor, "crop_size", None) or processor.size)["height"]
        model = load_pretrained(
            AutoModel.from_pretrained, folder, "image encoder", dtype=torch.float32
        )
        # CLIP and SigLIP consist of an image model and a text model; only the first is needed.
        model = getattr(model, "vision_model", model)
        self._model = model.requires_grad_(False).eval()

    def prepare_texts(self, texts: Iterable[str]) -> None:
        """Do nothing: texts do not matter to an image encoder."""

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], lr: Tensor) -> list[Tensor]:
        """Return the hidden states (L, width) float32 of each image.

        Every image is resized to the square of the encoder, whatever its aspect ratio.
        """
        self.prepare()
        self._model.to(lr.device)
        image = F.interpolate(
            (lr.float() + 1) / 2, (self._size, self._size), mode="bicubic", antialias=True
        ).clamp(0, 1)
        pixels = (image - self._mean.to(image.device)) / self._std.to(image.device)
        return list(self._model(pixel_values=pixels).last_hidden_state.float())
