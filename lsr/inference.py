"""Upscaler: a trained model applied to photographs of any size."""

from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor

from lsr.checkpoint import load_denoiser
from lsr.cuda_graph import replay_transformers
from lsr.denoiser import Denoiser, upsample_bicubic
from lsr.experts import ExpertMixture
from lsr.flow.noise import seeded_normal
from lsr.images import Photograph
from lsr.sampling import super_resolve

_LIVE_TENSORS = 3
"""Feed-forward activations that are alive at once in the widest place of the network, as measured."""


class Upscaler:
    """Upscales photographs by the model's scale.

    Args:
        denoiser: A trained denoiser, or a mixture of them, in evaluation mode.
        shift: Shift of its flow times.
        num_inference_steps: Sampling steps. One is the most faithful; more add texture.
        seed: Seed of the sampler's noise, in [0, 2^31).
        device: Where to compute; by default a GPU if there is one.
        cuda_graph: On a GPU replay the network as a CUDA graph from the second evaluation of a size on (`lsr.cuda_graph`): for many
            photographs or tiles of one size, or many steps.
    """

    def __init__(
        self,
        denoiser: Denoiser | ExpertMixture,
        shift: float,
        num_inference_steps: int = 1,
        seed: int = 0,
        device: torch.device | None = None,
        cuda_graph: bool = False,
    ) -> None:
        if num_inference_steps < 1:
            raise ValueError(f"the number of sampling steps must be at least 1, not {num_inference_steps}")
        if not 0 <= seed < 2**31:
            raise ValueError(f"the seed must be in [0, 2^31), not {seed}")
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.denoiser = denoiser.to(self.device)
        if cuda_graph:
            replay_transformers(self.denoiser)
        self.shift, self.num_inference_steps, self.seed = shift, num_inference_steps, seed

    @classmethod
    def from_pretrained(
        cls, path: str | Path, num_inference_steps: int = 1, seed: int = 0, device: torch.device | None = None, cuda_graph: bool = False
    ) -> "Upscaler":
        """Load a `.safetensors` file or a Lightning checkpoint (its averaged weights).

        Raises:
            ValueError: If the file is missing or holds no LinearSR model.
        """
        denoiser, shift = load_denoiser(Path(path))
        return cls(denoiser, shift, num_inference_steps, seed, device, cuda_graph)

    @property
    def scale(self) -> int:
        """Upscaling factor."""
        return self.denoiser.config.scale

    def upscale(self, photograph: Photograph) -> Photograph:
        """Return the photograph at `scale` times its size, exactly.

        Colour goes through the model, alpha is upsampled bicubically by itself. Bit depth, ICC profile, EXIF and greyness are
        kept: a grey photograph comes back grey.

        Raises:
            MemoryError: If the photograph is too large for the memory at hand.
        """
        height, width = photograph.pixels.shape[:2]
        self._check_memory(height, width)
        lr = _to_tensor(photograph.pixels).to(self.device)
        seeds = torch.tensor([self.seed])
        sr = super_resolve(
            self.denoiser,
            lr,
            lambda shape: seeded_normal(seeds, shape, 0, self.device),
            self.num_inference_steps,
            self.shift,
        )
        alpha = None
        if photograph.alpha is not None:
            repeated = np.repeat(photograph.alpha[..., None], 3, axis=-1)
            alpha = _to_pixels(upsample_bicubic(_to_tensor(repeated), self.scale))[..., 0]
        pixels = _to_pixels(sr)
        if photograph.grey:
            pixels = np.repeat(pixels @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32), 3, axis=-1)
        return Photograph(pixels=pixels, alpha=alpha, bits=photograph.bits, grey=photograph.grey, icc=photograph.icc, exif=photograph.exif)

    def _check_memory(self, height: int, width: int) -> None:
        config = self.denoiser.config
        tokens = -(-height * self.scale // self.denoiser.space.factor) * -(-width * self.scale // self.denoiser.space.factor)
        channels = _LIVE_TENSORS * 2 * int(config.width * config.mlp_ratio) + 4 * self.denoiser.space.channels
        need = 4 * tokens * channels
        if self.device.type == "cuda":
            kept = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            have = torch.cuda.mem_get_info(self.device)[0] + kept
        else:
            have = psutil.virtual_memory().available
        if need > have:
            raise MemoryError(f"{width}x{height} pixels need about {need / 2**30:.1f} GiB of memory, {have / 2**30:.1f} GiB are free")


def _to_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None] * 2 - 1


def _to_pixels(image: Tensor) -> np.ndarray:
    return ((image[0].clamp(-1, 1) + 1) / 2).permute(1, 2, 0).cpu().numpy()
