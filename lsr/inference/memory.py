"""Free memory, the memory that a photograph needs, and the errors that mean that it ran out."""

from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from lsr.inference.config import SMALLEST_TILE, SamplingConfig
from lsr.models.mixture import Model

_CGROUP = Path("/sys/fs/cgroup")
"""Folder with the memory limit and the memory use of a container (cgroup version 2)."""

_TILES = (256, 128, 64, SMALLEST_TILE)
"""Sides that "auto" tries, in LR pixels, from the largest on. Larger tiles brought no gain."""

_FLOAT_BYTES = 4

_LIVE_TENSORS = 3
"""Tensors that are alive at once in the widest place of the network, as measured.

These are feed-forward activations in the transformer, or feature maps in the LR stem.
"""

_LIVE_BANDS = 6
"""Copies of a row of tiles that one sampling step holds."""

_BANDS_BUDGET = 3 * 2**29
"""Most bytes of host memory that "auto" spends on rows of tiles.

Wider photographs get smaller tiles, not more memory.
"""

_DECODER_FLOATS = 512
"""Floats per output pixel in an autoencoder's decoder: 4 maps of DC-AE's 128 channels."""


def free_bytes(device: torch.device) -> int:
    """Return the number of bytes that can still be allocated on a device.

    On the CPU this respects the memory limit of a container.
    """
    if device.type == "cuda":
        # PyTorch keeps memory that it has freed: mem_get_info counts it as used.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    free = psutil.virtual_memory().available
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
        statistics = (_CGROUP / "memory.stat").read_text().splitlines()
        # The limit counts the page cache as used, but the kernel drops it when memory is needed.
        cache = dict(line.split() for line in statistics)["inactive_file"]
        return free if limit == "max" else min(free, int(limit) - int(used) + int(cache))
    except (OSError, KeyError, ValueError):
        return free


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out.

    numpy raises MemoryError, PyTorch on a GPU OutOfMemoryError, and PyTorch on a CPU a plain
    RuntimeError.
    """
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimates the memory that upscaling one photograph takes, in addition to the photograph.

    Attributes:
        denoiser: The model.
        sampling: Settings of sampling.
        device: Device that the tiles are computed on.
        height: Height of the photograph in pixels.
        width: Width of the photograph in pixels.
    """

    denoiser: Model
    sampling: SamplingConfig
    device: torch.device
    height: int
    width: int

    def choose_tile(self) -> int:
        """Return the side of the tiles in pixels.

        "auto" leaves half of the free memory unused: the estimate is rough, and other programs need
        memory too.

        Raises:
            MemoryError: If there is too little memory for these tiles.
        """
        free = free_bytes(self.device)
        tile = self._largest_that_fits(free // 2)
        needed = self.device_bytes(tile)
        if needed > free:
            raise MemoryError(
                f"{self.width}x{self.height} pixels need about {needed / 2**30:.1f} GiB of memory,"
                f" {free / 2**30:.1f} GiB are free; choose a smaller tile or picture"
            )
        return tile

    def _largest_that_fits(self, budget: int) -> int:
        if self.sampling.tile != "auto":
            return self.sampling.tile or max(self.height, self.width)
        for tile in _TILES:
            if self.device_bytes(tile) <= budget and self.host_bytes(tile) <= _BANDS_BUDGET:
                return tile
        return SMALLEST_TILE

    def device_bytes(self, tile: int) -> int:
        """Return roughly how many bytes tiles of a side take on the device.

        On a CPU this includes `host_bytes`.
        """
        config = self.denoiser.config
        space = self.denoiser.space
        lr_multiple = self.denoiser.lr_multiple
        batch = 1 if self.sampling.guidance_scale == 1 else 2  # with and without the context
        feed_forward = _LIVE_TENSORS * 2 * int(config.width * config.mlp_ratio)
        stem = _LIVE_TENSORS * config.stem_width * lr_multiple**2
        decoder = _DECODER_FLOATS * space.factor**2 if config.autoencoder else 0
        floats_per_token = feed_forward + stem + decoder + 4 * space.channels
        tokens = batch * self._tokens(tile, min(self.width, tile))
        network = _FLOAT_BYTES * tokens * floats_per_token
        return network + (self.host_bytes(tile) if self.device.type == "cpu" else 0)

    def host_bytes(self, tile: int) -> int:
        """Return roughly how many bytes of host memory rows of tiles of `tile` LR pixels take.

        All sampling steps work at once, each on its own row of latent tiles. Decoding holds one row
        of tiles of the image.
        """
        space = self.denoiser.space
        latents = self.sampling.num_inference_steps * space.channels
        decoded = 3 * space.factor**2
        tokens = self._tokens(tile, self.width)
        return _FLOAT_BYTES * _LIVE_BANDS * tokens * (latents + decoded)

    def _tokens(self, tile: int, width: int) -> int:
        """Return the number of tokens of an area as high as a tile and `width` pixels wide."""
        lr_multiple = self.denoiser.lr_multiple
        rows = -(-min(self.height, tile) // lr_multiple)
        columns = -(-width // lr_multiple)
        return rows * columns
