"""Divide memory for one picture: free memory, the plan, and the errors that mean it ran out."""

import math
import os
from dataclasses import dataclass, replace

import torch

from lsr.distributed.processes import ALONE, Processes
from lsr.errors import one_line
from lsr.images.free_memory import free_memory
from lsr.inference.cells import CellGrid, cell_size
from lsr.inference.config import SamplingConfig
from lsr.models.autoencoder_dc import rows_at_a_time
from lsr.models.mixture import Model, picture_grid

_FLOAT_BYTES = 4

_MOST_CELL_ROWS = 4
"""Most rows of cells per band: more brought no gain, they only keep more threads busy."""

_LIVE_TENSORS = 3
"""Tensors that are alive at once in the widest place of the network, as measured.

These are feed-forward activations in the transformer, or feature maps in the LR stem.
"""

_LIVE_TOKENS = 6
"""Copies of the tokens of a band that a sweep holds."""

_LIVE_IMAGES = 5
"""Copies of a band of the image: the decoded band, and those of colour fix, resize and file."""


class BeyondBudget(MemoryError):  # noqa: N818 (a limit that the user chose is no error of ours)
    """A picture that needs more memory than the budget."""


def free_bytes(device: torch.device) -> int:
    """Return the number of bytes that can still be allocated on a device.

    On the CPU this respects the memory limit of a container.
    """
    if device.type == "cuda":
        # PyTorch keeps memory that it has freed: mem_get_info counts it as used.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return free_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out.

    numpy raises MemoryError, PyTorch on a GPU OutOfMemoryError, and PyTorch on a CPU a plain
    RuntimeError.
    """
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )


def shortage(error: BaseException) -> str:
    """Return, in one line, what an exception says of which `is_out_of_memory` is true.

    The texts of PyTorch name its source files, and may have several lines. Python and Pillow give
    no text at all.
    """
    told = "" if isinstance(error, RuntimeError) else one_line(error)
    return told or "out of memory"


def common_budget(wanted: int | None, device: torch.device, processes: Processes) -> int | None:
    """Return the budget of memory that all processes can keep to.

    Args:
        wanted: Budget that the user has chosen for each process, in bytes. None takes half of the
            free memory, of which processes on CPUs of one machine get equal parts.
        device: Device of this process.
        processes: The processes. One alone looks anew for every photograph what is free.
    """
    if processes.size == 1:
        return wanted
    # SLURM, for example, does not tell how many processes are on this machine: perhaps all are.
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes.size))
    sharing = here if device.type == "cpu" else 1
    return min(processes.of_all(wanted or free_bytes(device) // 2 // sharing))


@dataclass(frozen=True)
class MemoryPlan:
    """The division of one picture and of the memory for it.

    Attributes:
        grid: Grid of tokens, and the size of the bands that are in memory together.
        in_file: Whether the tokens are kept in a temporary file.
        sweeps: Number of sweeps over the picture.
    """

    grid: CellGrid
    in_file: bool
    sweeps: int

    @property
    def sweep_bands(self) -> int:
        """Number of bands of all sweeps."""
        return self.sweeps * len(self.grid.bands)

    @property
    def smallest(self) -> "MemoryPlan":
        """The plan for the same picture that takes the least memory."""
        return replace(self, grid=replace(self.grid, cell_rows=1), in_file=True)


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimates the memory that upscaling one photograph takes, in addition to the photograph.

    Attributes:
        denoiser: The model.
        sampling: Settings of sampling.
        device: Device that computes.
        height: Height of the photograph in pixels.
        width: Width of the photograph in pixels.
        processes: The processes that compute the photograph together.
    """

    denoiser: Model
    sampling: SamplingConfig
    device: torch.device
    height: int
    width: int
    processes: Processes = ALONE

    def plan(self) -> MemoryPlan:
        """Divide the memory.

        Without `SamplingConfig.memory` the budget is half of the free memory: the estimate is
        rough, and other programs need memory too.

        Raises:
            BeyondBudget: If the budget is too small even if the tokens are kept in a file.
        """
        budget = self.sampling.memory or free_bytes(self.device) // 2
        needed = max(self.band_bytes(1), self.decoder_bytes())
        if needed > budget:
            # The need is rounded up and the budget down, so that the two figures always differ.
            raise BeyondBudget(
                f"{self.width}x{self.height} pixels need {math.ceil(needed / 2**20)} MiB of "
                f"memory, the budget is {budget // 2**20} MiB (--memory)"
            )
        in_file = needed + self.store_bytes() > budget
        left = budget if in_file else budget - self.store_bytes()
        numbers = range(1, _MOST_CELL_ROWS + 1)
        cell_rows = max(number for number in numbers if self.band_bytes(number) <= left)
        evaluations = self.sampling.num_inference_steps
        refining = 1 if self.denoiser.config.head_width else 0
        sweeps = evaluations * (self.denoiser.config.depth + 1 + refining)
        grid = self._grid(cell_rows).divided(self.processes.rank, self.processes.size)
        return MemoryPlan(grid, in_file, sweeps)

    def _grid(self, cell_rows: int) -> CellGrid:
        height, width = picture_grid(self.denoiser, self.height, self.width)
        return CellGrid(height, width, cell_size(self.device, width), cell_rows)

    @property
    def _batch(self) -> int:
        """Evaluations of the network per step: guidance evaluates it with and without context."""
        return 1 if self.sampling.guidance_scale == 1 else 2

    def store_bytes(self) -> int:
        """Return how many bytes the stores of tokens and of states take in one process."""
        floats = self._batch * self.denoiser.config.width
        if self.sampling.num_inference_steps > 1:
            floats += self.denoiser.space.channels
        grid = self._grid(1)
        # The largest part, so that all processes divide their memory alike.
        height = -(-grid.rows_of_cells // self.processes.size) * grid.cell_size[0]
        return _FLOAT_BYTES * min(grid.height, height) * grid.width * floats

    def decoder_bytes(self) -> int:
        """Return roughly how many bytes an autoencoder's decoder takes; 0 without autoencoder.

        The formula is fitted to measurements of DC-AE f32c32, see `lsr.models.decoding_in_bands`.
        The second term is the map of its last attention, which it keeps as a whole.
        """
        if self.denoiser.config.autoencoder is None:
            return 0
        height, width = (self.denoiser.config.scale * side for side in (self.height, self.width))
        return int(512 * width * (6.5 * rows_at_a_time(width) + 80) + 32 * height * width)

    def band_bytes(self, cell_rows: int) -> int:
        """Return roughly how many bytes bands of `cell_rows` rows of cells take."""
        config = self.denoiser.config
        space = self.denoiser.space
        lr_multiple = self.denoiser.lr_multiple
        grid = self._grid(cell_rows)
        states = (3 + self._batch) * space.channels
        image = 0 if config.autoencoder else _LIVE_IMAGES * 3 * space.factor**2
        floats = _LIVE_TOKENS * self._batch * config.width + states + image
        band = grid.bands[0].bottom * grid.width * floats
        feed_forward = _LIVE_TENSORS * 2 * int(config.width * config.mlp_ratio) * self._batch
        convolutions = _LIVE_TENSORS * max(config.stem_width, config.head_width) * lr_multiple**2
        cell_tokens = min(grid.height, grid.cell_size[0]) * min(grid.width, grid.cell_size[1])
        at_a_time = torch.get_num_threads() if self.device.type == "cpu" else 1
        cells = at_a_time * cell_tokens * max(feed_forward, convolutions)
        return _FLOAT_BYTES * (band + cells)
