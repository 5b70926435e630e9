"""Map images to latents with DC-AE, the deep compression autoencoder of SANA, from diffusers."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lsr.batch import CachesLatents
from lsr.errors import first_clause
from lsr.images.rows import Rows
from lsr.models.decoding_in_bands import decode_in_bands

_PIXELS_OF_A_BAND = 2**17
"""Image pixels of the bands that are decoded at a time unless the caller asks for others."""

_FEWEST_ROWS = 16
"""Rows of the lowest bands: in lower ones most of the time goes into rows computed twice."""


def rows_at_a_time(width: int) -> int:
    """Return the number of rows that `decode_rows` computes at a time for an image width."""
    return max(_FEWEST_ROWS, _PIXELS_OF_A_BAND // width)


class DeepCompression:
    """Maps images to the latents of a frozen `diffusers.AutoencoderDC` (arXiv 2410.10733) and back.

    The autoencoder is loaded when it is first needed. It is not part of any module, so checkpoints,
    averaged weights and the optimiser do not contain it. Latents are multiplied by the scaling
    factor in its configuration (0.41407 for f32c32), which gives them about unit scale.

    Args:
        source: Folder that diffusers wrote, or a name on the hub.
        channels: Channels of the latents.
        factor: Image pixels per latent position and axis.
    """

    def __init__(self, source: str, channels: int = 32, factor: int = 32) -> None:
        self.source = source
        self.channels = channels
        self.factor = factor
        self._autoencoder: Any = None

    def prepare(self, compile: bool = False) -> None:
        """Load the autoencoder.

        Args:
            compile: Whether to compile encoder and decoder. Compilation takes place at the first
                use of each and again for every new image size.

        Raises:
            ValueError: If the autoencoder is missing or damaged, or its latents have other channels
                or another factor.
        """
        if self._autoencoder is not None:
            return
        autoencoder = self._load()
        found = autoencoder.config.latent_channels, autoencoder.spatial_compression_ratio
        if found != (self.channels, self.factor):
            raise ValueError(
                f"the autoencoder {self.source} is f{found[1]}c{found[0]}, not "
                f"f{self.factor}c{self.channels}: set model.denoiser.latent_factor to {found[1]}, "
                f"latent_channels to {found[0]}"
            )
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
        # Files, JSON, safetensors and the hub all raise different exceptions.
        except Exception as error:
            raise ValueError(
                f"the autoencoder {self.source} cannot be loaded ({type(error).__name__}): "
                f"{self._remedy(error)}"
            ) from error
        autoencoder, report = loaded
        if report["missing_keys"]:  # diffusers only warns and leaves random weights there
            first, *others = report["missing_keys"]
            raise ValueError(
                f"the autoencoder {self.source} lacks the weight {first} and {len(others)} more: "
                "it is incomplete; fetch it again"
            )
        return autoencoder

    def _remedy(self, error: Exception) -> str:
        """Return advice on what to do about an autoencoder that cannot be loaded."""
        folder = Path(self.source)
        if folder.is_dir():
            inner = (
                f"name {folder / 'vae'} instead" if (folder / "vae").is_dir() else "fetch it again"
            )
            return f"{inner} ({first_clause(error, folder)})"
        if len(folder.parts) != 2 or folder.parts[0] in ("/", ".", ".."):
            return "there is no such folder; name one of diffusers, or owner/name on the hub"
        return (
            f"fetch it with `hf download {self.source}`, "
            "or name a folder of diffusers with --model.denoiser.autoencoder"
        )

    def identity(self) -> dict[str, Any]:
        """Return the configuration of the autoencoder, and the SHA-256 of its weights in bfloat16.

        Latents depend on nothing else, so equal identities mean equal latents. bfloat16 is the type
        of the weights on a GPU: with it the identity is the same on every device.
        """
        self.prepare()
        digest = hashlib.sha256()
        for name, weight in sorted(self._autoencoder.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}\n".encode())
            values = weight.to("cpu", torch.bfloat16).flatten().contiguous()
            digest.update(values.view(torch.uint8).numpy().data)
        config = {
            name: value
            for name, value in self._autoencoder.config.items()
            if not name.startswith("_")
        }
        return {"config": json.loads(json.dumps(config)), "sha256": digest.hexdigest()}

    def check_identity(self, other: Mapping[str, Any], what: str) -> None:
        """Compare this autoencoder with the one that made some latents.

        Args:
            other: `identity` of the autoencoder that made them.
            what: Name of the latents for the error message, in the plural.

        Raises:
            ValueError: If the two autoencoders differ.
        """
        own = self.identity()
        differing = ["weights"] if own["sha256"] != other["sha256"] else []
        # Only settings that both have are compared: newer versions of diffusers add settings.
        differing += sorted(
            name
            for name in own["config"].keys() & other["config"].keys()
            if own["config"][name] != other["config"][name]
        )
        if differing:
            raise ValueError(
                f"{what} were made by another autoencoder than {self.source} (other "
                f"{', '.join(differing)}): run lsr cache-latents with this one"
            )

    def encode(self, image: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [-1, 1] to latents (B, channels, H / factor, W / factor).

        H and W must be multiples of `factor`. Latents are float32.
        """
        autoencoder = self._on(image)
        with torch.no_grad(), _own_precision(image):
            return (
                autoencoder.encode(image.to(autoencoder.dtype)).latent.float()
                * autoencoder.config.scaling_factor
            )

    def decode(self, latent: Tensor) -> Tensor:
        """Map latents to images (B, 3, H, W), float32, whose values are not clipped."""
        autoencoder = self._on(latent)
        with torch.no_grad(), _own_precision(latent):
            return autoencoder.decode(self._unscaled(latent)).sample.float()

    def decode_rows(self, latent: Rows, rows: int | None = None) -> Rows:
        """Map the rows of one latent to the rows of its image; see `LatentSpace.decode_rows`.

        The memory does not grow with the height of the image, but for one feature map of the
        decoder, which its attention needs as a whole. With f32c32 this map has 8 numbers per image
        pixel, and the bands take about 128 W (6.5 rows + 80) numbers for an image of W columns.
        """
        whole = torch.cat(list(latent), dim=1)[None]
        decoder = self._on(whole).decoder
        width = whole.shape[-1] * self.factor
        rows = rows or rows_at_a_time(width)
        floats = rows * width * decoder.norm_out.weight.numel()
        bands = decode_in_bands(decoder, self._unscaled(whole), floats)
        while True:
            # The contexts must not be open while the caller works on a block.
            with torch.no_grad(), _own_precision(whole):
                band = next(bands, None)
            if band is None:
                return
            yield band[0].float()

    def _unscaled(self, latent: Tensor) -> Tensor:
        """Return a latent at the scale and in the type of the loaded autoencoder."""
        autoencoder = self._autoencoder
        return (latent / autoencoder.config.scaling_factor).to(autoencoder.dtype)

    def _on(self, like: Tensor) -> Any:
        """Return the autoencoder on the device of a tensor, in the type that suits the device."""
        self.prepare()
        # bfloat16 halves time and memory on a GPU without a visible difference; on a CPU it is
        # slow.
        dtype = torch.bfloat16 if like.is_cuda else torch.float32
        # Convert only if necessary: diffusers warns at every conversion.
        if (self._autoencoder.device, self._autoencoder.dtype) != (like.device, dtype):
            self._autoencoder.to(like.device, dtype)
        return self._autoencoder


def _own_precision(like: Tensor) -> torch.autocast:
    """Return a context that switches autocast off.

    The attention of DC-AE computes its sums in float32; autocast would make them half precision.
    """
    return torch.autocast(like.device.type, enabled=False)


def check_same_latents(space: Any, data: object) -> None:
    """Check that the autoencoder of the model made the cached latents of the data.

    Args:
        space: Latent space of the model.
        data: Data module, whose attribute `latents_made_by` is the identity of the autoencoder that
            made its latents. Nothing is checked if it has none.

    Raises:
        ValueError: If another autoencoder made the latents, or the model has no autoencoder.
    """
    made_by = data.latents_made_by if isinstance(data, CachesLatents) else None
    if made_by is None:
        return
    if not isinstance(space, DeepCompression):
        raise ValueError(
            "the data have cached latents of an autoencoder, but the model has no autoencoder: "
            "set model.denoiser.autoencoder"
        )
    space.check_identity(made_by, "the cached latents")
