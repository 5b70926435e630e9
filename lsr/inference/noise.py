"""Draw the noise that sampling starts from, as a function of the seed and the position."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lsr.inference.cells import Band, Compute

_STREAM = 0x757073636E6F6973
"""Second key word of Philox: keeps this noise independent of other draws with the same seed."""


@dataclass(frozen=True)
class NoiseRows:
    """Standard normal noise of the size of a picture, drawn row by row when it is read.

    A row of noise depends on the seed and the number of the row only, so a picture may be drawn in
    any parts. numpy's Philox generator draws it on the CPU, so that it is the same for all devices.

    Attributes:
        seed: Seed of the noise, in [0, 2^31).
        shape: Shape of a row, (W, channels).
        compute: Function that computes several rows at a time.
    """

    seed: int
    shape: tuple[int, int]
    compute: Compute

    def read(self, band: Band) -> Tensor:
        """Return the noise of a band, (r, W, channels)."""
        return torch.from_numpy(np.stack(self.compute(self._row, range(*band))))

    def _row(self, row: int) -> np.ndarray:
        key = np.random.Philox(key=[self.seed, _STREAM], counter=[0, 0, 0, row])
        noise = np.random.Generator(key).standard_normal(self.shape[::-1], dtype=np.float32)
        return noise.T
