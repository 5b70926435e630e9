"""A frozen image encoder's view of the LR image: DINOv2, CLIP's or SigLIP's image tower through transformers."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.guidance.pretrained import loaded, pretrained_folder, read_config


class FrozenVisual:
    """The last hidden states of an image encoder for the LR image, one token per patch (and the class token where there is one).

    Args:
        source: A folder of transformers, or a name on the hub.
        width: Channels that the states must have.
    """

    def __init__(self, source: str, width: int) -> None:
        self.source, self.width = source, width
        self._model: Any = None
        self._size = 0
        self._mean = self._std = torch.empty(0)

    def prepare(self) -> None:
        """Load the encoder.

        Raises:
            ValueError: If it is missing, damaged, or has another width.
        """
        if self._model is not None:
            return
        folder = pretrained_folder(self.source, "image encoder")
        config = read_config(folder, "image encoder")
        width = config.get("vision_config", config).get("hidden_size")
        if width != self.width:
            raise ValueError(
                f"the image encoder {self.source} has {width} channels, not {self.width}: set model.denoiser.context_dim"
            )
        from transformers import AutoImageProcessor, AutoModel

        processor = loaded(AutoImageProcessor.from_pretrained, folder, "image processor")
        self._mean, self._std = (
            torch.tensor(values).reshape(3, 1, 1)
            for values in (processor.image_mean, processor.image_std)
        )
        self._size = (getattr(processor, "crop_size", None) or processor.size)["height"]
        model = loaded(AutoModel.from_pretrained, folder, "image encoder", dtype=torch.float32)
        self._model = (
            getattr(model, "vision_model", model).requires_grad_(False).eval()
        )  # of image and text the part that looks

    def remember(self, texts: Iterable[str]) -> None:
        """Texts do not matter."""

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], lr: Tensor) -> list[Tensor]:
        """Return the states (L, width) float32 of each image, resized to the square that the encoder was made for."""
        self.prepare()
        self._model.to(lr.device)
        image = F.interpolate(
            (lr.float() + 1) / 2, (self._size, self._size), mode="bicubic", antialias=True
        ).clamp(0, 1)
        pixels = (image - self._mean.to(image.device)) / self._std.to(image.device)
        return list(self._model(pixel_values=pixels).last_hidden_state.float())
