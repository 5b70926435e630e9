"""The latents of DC-AE, the deep compression autoencoder of SANA, through diffusers."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lsr.batch import CachesLatents


class DeepCompression:
    """Maps images to the latents of a frozen `diffusers.AutoencoderDC` (arXiv 2410.10733) and back.

    The autoencoder is loaded when it is first needed and belongs to no module: neither checkpoints nor averages nor the optimiser
    see it. Latents are multiplied by the autoencoder's own scaling factor (0.41407 for f32c32), which makes them of unit scale.

    Args:
        source: A folder written by diffusers, or a name on the hub.
        channels: Channels of the latents.
        factor: Image pixels per latent position and axis.
        tile: Images with a longer side than this many pixels are decoded in tiles that overlap by a quarter.
    """

    def __init__(self, source: str, channels: int = 32, factor: int = 32, tile: int = 1024) -> None:
        self.source, self.channels, self.factor, self.tile = source, channels, factor, tile
        self._autoencoder: Any = None

    def prepare(self, compile: bool = False) -> None:
        """Load the autoencoder.

        Args:
            compile: Compile both its halves, each for every new size, when they are first used.

        Raises:
            ValueError: If it is missing, damaged, or of another shape.
        """
        if self._autoencoder is not None:
            return
        autoencoder = self._load()
        found = autoencoder.config.latent_channels, autoencoder.spatial_compression_ratio
        if found != (self.channels, self.factor):
            raise ValueError(
                f"the autoencoder {self.source} is f{found[1]}c{found[0]}, not f{self.factor}c{self.channels}"
            )
        autoencoder.enable_tiling(self.tile, self.tile, self.tile * 3 // 4, self.tile * 3 // 4)
        if compile:
            autoencoder.encoder.compile()
            autoencoder.decoder.compile()
        self._autoencoder = (
            autoencoder.requires_grad_(False).eval().to(memory_format=torch.channels_last)
        )

    def _load(self) -> Any:
        from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC

        try:
            loaded: Any = AutoencoderDC.from_pretrained(
                self.source, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # OSError, JSON, safetensors, hub: each has its own kinds
            raise ValueError(
                f"the autoencoder {self.source} cannot be loaded ({type(error).__name__}): {self._remedy(error)}"
            ) from error
        autoencoder, report = loaded
        if report["missing_keys"]:  # diffusers would leave them random
            first, *others = report["missing_keys"]
            raise ValueError(
                f"the autoencoder {self.source} lacks the weights {first} and {len(others)} more: fetch it again"
            )
        return autoencoder

    def _remedy(self, error: Exception) -> str:
        folder = Path(self.source)
        if folder.is_dir():
            inner = (
                f"name {folder / 'vae'} instead" if (folder / "vae").is_dir() else "fetch it again"
            )
            return f"{inner}; {' '.join(str(error).split())[:200]}"
        if len(folder.parts) != 2 or folder.parts[0] in ("/", ".", ".."):
            return "there is no such folder; name one of diffusers, or owner/name on the hub"
        return f"fetch it with `hf download {self.source}`, or name a folder of diffusers with --model.denoiser.autoencoder"

    def identity(self) -> dict[str, Any]:
        """Return what latents depend on: the autoencoder's configuration, and the SHA-256 of its weights in bfloat16."""
        self.prepare()
        digest = hashlib.sha256()
        for name, weight in sorted(self._autoencoder.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}\n".encode())
            digest.update(
                weight.to("cpu", torch.bfloat16)
                .flatten()
                .contiguous()
                .view(torch.uint8)
                .numpy()
                .data
            )
        config = {
            name: value
            for name, value in self._autoencoder.config.items()
            if not name.startswith("_")
        }
        return {"config": json.loads(json.dumps(config)), "sha256": digest.hexdigest()}

    def check_identity(self, other: Mapping[str, Any], what: str) -> None:
        """Compare with the identity of the autoencoder that made something.

        Raises:
            ValueError: If it is another autoencoder.
        """
        own = self.identity()
        differing = ["weights"] if own["sha256"] != other["sha256"] else []
        # Versions of diffusers name settings that others do not know yet.
        differing += sorted(
            name
            for name in own["config"].keys() & other["config"].keys()
            if own["config"][name] != other["config"][name]
        )
        if differing:
            raise ValueError(
                f"{what} were made by another autoencoder than {self.source}: other {', '.join(differing)}"
            )

    def encode(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1], sides multiples of `factor`, to (B, channels, H / factor, W / factor) float32."""
        autoencoder = self._on(image)
        autoencoder.use_tiling = False  # diffusers cannot encode in tiles
        with torch.no_grad(), _own_precision(image):
            return (
                autoencoder.encode(image.to(autoencoder.dtype)).latent.float()
                * autoencoder.config.scaling_factor
            )

    def decode(self, latent: Tensor) -> Tensor:
        """Map latents back to images (B, 3, H, W) float32, not clipped."""
        autoencoder = self._on(latent)
        autoencoder.use_tiling = max(latent.shape[-2:]) * self.factor > self.tile
        with torch.no_grad(), _own_precision(latent):
            return autoencoder.decode(
                (latent / autoencoder.config.scaling_factor).to(autoencoder.dtype)
            ).sample.float()

    def _on(self, like: Tensor) -> Any:
        self.prepare()
        # bfloat16 halves time and memory on a GPU and costs the pictures nothing that can be seen; on a CPU it is slow.
        wanted = like.device, torch.bfloat16 if like.is_cuda else torch.float32
        if (
            self._autoencoder.device,
            self._autoencoder.dtype,
        ) != wanted:  # diffusers warns at every conversion
            self._autoencoder.to(*wanted)
        return self._autoencoder


def _own_precision(like: Tensor) -> torch.autocast:
    # The attention of DC-AE computes its sums in float32; the autocast of training would take that back.
    return torch.autocast(like.device.type, enabled=False)


def check_same_latents(space: Any, data: object) -> None:
    """Refuse latents that data bring along, `latents_made_by`, if another autoencoder made them than that of the model's space.

    Raises:
        ValueError: If so, or the model has none.
    """
    made_by = data.latents_made_by if isinstance(data, CachesLatents) else None
    if made_by is None:
        return
    if not isinstance(space, DeepCompression):
        raise ValueError(
            "the data bring latents of an autoencoder, but the model has none: model.denoiser.autoencoder"
        )
    space.check_identity(made_by, "the cached latents")
