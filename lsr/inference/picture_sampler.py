"""Sample the SR image of one picture of any size as a stream of rows.

The result is that of the network on the whole picture: nothing is cut into tiles. Memory holds a
few bands of rows, and the tokens if they fit, see `lsr.inference.memory`. The Euler step is written
here once more: `sample_euler` of `lsr.flow.samplers` samples whole batches.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count, pairwise

import numpy as np
import torch
from torch import Tensor

from lsr.batch import Context
from lsr.distributed.processes import ALONE, Processes
from lsr.flow.classifier_free import extrapolated
from lsr.flow.timesteps import timestep_grid
from lsr.images.rows import Rows, rows_per_block
from lsr.inference.banded_network import BandedNetwork, Conditioning, Refinement, Source
from lsr.inference.cells import Band, Cell, Compute, compute_in_threads
from lsr.inference.config import SamplingConfig
from lsr.inference.joined_parts import joined_parts
from lsr.inference.lr_picture import LRPicture
from lsr.inference.memory import MemoryPlan
from lsr.inference.noise import NoiseRows
from lsr.inference.row_store import RowStore
from lsr.models.condition import Condition
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import Model
from lsr.nn.attention import KeysValues


@dataclass(frozen=True, kw_only=True)
class PictureSampler:
    """Samples the SR image of one LR image.

    Attributes:
        denoiser: The velocity field.
        lr: LR image (h, w, 3) float32 in [0, 1].
        shift: Shift of the noise schedule, the same as in training.
        sampling: Settings of sampling.
        plan: Division of the picture and of the memory; no plan changes the result.
        device: Device that computes.
        context: Guidance of the image, or None.
        watch: Function that is called now and then with the finished share of the work, up to 1.
        processes: The processes that compute the picture together, each one part of `plan.grid`.
    """

    denoiser: Model
    lr: np.ndarray
    shift: float
    sampling: SamplingConfig
    plan: MemoryPlan
    device: torch.device
    context: Context | None = None
    watch: Callable[[float], None] = lambda share: None
    processes: Processes = ALONE

    def rows(self) -> Rows:
        """Yield the SR image in blocks (3, r, scale w) in [0, 1].

        Of several processes only the first gets the image. The others compute their parts and yield
        nothing.
        """
        scale = self.denoiser.config.scale
        height, width = (scale * side for side in self.lr.shape[:2])
        margin = scale * self.denoiser.margin
        above = margin
        with compute_in_threads(self.device) as compute:
            bands = self._decoded(compute)
            while True:
                # The modes must not reach the caller, who works on a block meanwhile. Threads are
                # not in the caller's inference mode, and could not write into its tensors.
                with torch.inference_mode(False), torch.no_grad():
                    band = next(bands, None)
                if band is None:
                    return
                # The grid has a margin and whole latent positions: cut off what lies outside.
                inside = band[:, above : above + height, margin : margin + width]
                above = max(0, above - band.shape[1])
                height -= inside.shape[1]
                if inside.shape[1] == 0:
                    continue
                for block in inside.split(rows_per_block(width), dim=1):
                    yield block.clamp(-1, 1).add_(1).div_(2)

    @cached_property
    def _picture(self) -> LRPicture:
        return LRPicture(self.lr, self.plan.grid, self.device, self.denoiser.margin)

    @cached_property
    def _guide(self) -> Condition:
        """The condition without image: the context, whose keys and values are computed once.

        For classifier-free guidance it is doubled: the network is evaluated with the context and
        without it.
        """
        nothing = torch.zeros(1, device=self.device)
        tokens, mask = self.context or (None, None)
        guide = Condition(nothing, nothing, tokens, mask)
        if self.context is None or self.sampling.guidance_scale == 1:
            return guide
        return guide.doubled_for_cfg()

    @property
    def _batch(self) -> int:
        return len(self._guide.lr)

    @property
    def _channels(self) -> int:
        return self.denoiser.space.channels

    @cached_property
    def _advance(self) -> Callable[[], None]:
        """Function that counts the finished bands of all sweeps and reports their share."""
        done = count(1)
        return lambda: self.watch(next(done) / self.plan.sweep_bands)

    def _decoded(self, compute: Compute) -> Rows:
        """Yield the image in bands (3, r, f W), with values that are not clipped."""
        with ExitStack() as stores:
            own = self.plan.grid.bands
            sources = zip(own, self._sampled(compute, stores), strict=True)
            if self.denoiser.config.autoencoder is None:
                images = (self._image(band, x_0, compute) for band, x_0 in sources)
                yield from joined_parts(images, len(own), self.processes)
                return
            states = (self._states(band, x_0, compute) for band, x_0 in sources)
            parts = list(joined_parts(states, len(own), self.processes))
        if not self.processes.leads:
            return
        lr = self._picture.below(self.plan.grid.whole, self.denoiser.lr_multiple)
        x_0 = torch.cat(parts).permute(2, 0, 1)[None].to(self.device)
        latent = self.denoiser.latent(x_0, self.denoiser.condition(lr))
        for block in self.denoiser.space.decode_rows(iter(latent)):
            yield block.cpu()

    def _image(self, band: Band, x_0: Source, compute: Compute) -> Tensor:
        """Return the image (3, f r, f W) of a band."""
        factor = self.denoiser.space.factor
        whole = Cell(*band, 0, self.plan.grid.width).times(factor)
        image = torch.empty(3, *whole.size)

        def decode(cell: Cell) -> None:
            part = self._picture.decode(self.denoiser, x_0(cell), cell)
            image[:, *cell.times(factor).inside(whole)] = part[0]

        compute(decode, self.plan.grid.cells(band))
        self._advance()
        return image

    def _states(self, band: Band, source: Source, compute: Compute) -> Tensor:
        """Return the states (r, W, C) of a band."""
        rows = torch.empty(band.bottom - band.top, self.plan.grid.width, self._channels)

        def keep(cell: Cell) -> None:
            cell.of(rows, band).copy_(source(cell)[0].permute(1, 2, 0))

        compute(keep, self.plan.grid.cells(band))
        self._advance()
        return rows

    def _sampled(self, compute: Compute, stores: ExitStack) -> Iterator[Source]:
        """Return the sources of the data x_0 (1, C, r, c) of the flow, one for every band."""
        times = timestep_grid(self.sampling.num_inference_steps, self.shift).tolist()
        tokens = self._store(stores, self._batch, self.denoiser.config.width)
        states: NoiseRows | RowStore = NoiseRows(
            self.sampling.seed, (self.plan.grid.width, self._channels), compute
        )
        for t, t_next in pairwise(times[:-1]):
            following = states
            if isinstance(following, NoiseRows):
                following = self._store(stores, self._channels)
            for band, source in zip(
                self.plan.grid.bands, self._step(t, t_next, states, tokens, compute), strict=True
            ):
                following.write(band, self._states(band, source, compute))
            states = following
        return self._step(times[-2], times[-1], states, tokens, compute)

    def _store(self, stores: ExitStack, *shape: int) -> RowStore:
        """Return a store that is closed with all others; `shape` is (B, C) or (C,)."""
        grid = self.plan.grid
        row = *shape[:-1], grid.width, shape[-1]
        return stores.enter_context(
            closing(RowStore(grid.own, row, self.device, self.plan.in_file))
        )

    def _step(
        self,
        t: float,
        t_next: float,
        states: NoiseRows | RowStore,
        tokens: RowStore,
        compute: Compute,
    ) -> Iterator[Source]:
        """Take an Euler step of the whole picture from time t to t_next.

        Args:
            t: Time of the states.
            t_next: Time of the results.
            states: States x_t, rows (W, C).
            tokens: Store of the tokens.
            compute: Function that computes cells.

        Yields:
            For every band, the source of its states (1, C, r, c) at t_next.
        """
        times = torch.full((self._batch,), t, device=self.device)
        denoiser = self.denoiser.denoiser_at(times)
        scale, weight_of_state, weight_of_output = denoiser.euler_weights(t, t_next)

        def state(x_t: Tensor, band: Band, cell: Cell) -> Tensor:
            return cell.of(x_t, band).permute(2, 0, 1)[None].to(self.device)

        def network_input(x_t: Tensor, band: Band, cell: Cell) -> Tensor:
            features = self._picture.features(denoiser, cell)
            seen = torch.cat([scale * state(x_t, band, cell), features], dim=1)
            return seen.expand(self._batch, -1, -1, -1)

        def stepped(predict: Source, x_t: Tensor | None, band: Band, cell: Cell) -> Tensor:
            output = predict(cell)
            if self._batch == 2:
                output = extrapolated(output, self.sampling.guidance_scale)
            moved = weight_of_output * output
            return moved if x_t is None else moved + weight_of_state * state(x_t, band, cell)

        bands = self.plan.grid.bands
        inputs = (partial(network_input, states.read(band), band) for band in bands)
        network = BandedNetwork(
            net=denoiser.net,
            grid=self.plan.grid,
            tokens=tokens,
            compute=compute,
            advance=self._advance,
            device=self.device,
            processes=self.processes,
            refinement=self._refinement(denoiser),
        )
        predictions = network.run(inputs, self._conditioning(denoiser, times))
        for band, predict in zip(bands, predictions, strict=True):
            yield partial(stepped, predict, states.read(band) if weight_of_state else None, band)

    def _refinement(self, denoiser: Denoiser) -> Refinement | None:
        if denoiser.head is None:
            return None
        reach = -(-denoiser.head.reach // denoiser.lr_multiple)
        return Refinement(reach, partial(self._picture.refine, denoiser))

    def _conditioning(self, denoiser: Denoiser, times: Tensor) -> Conditioning:
        contexts: Sequence[KeysValues | None] = [None] * len(denoiser.net.blocks)
        if self.context is not None and denoiser.config.context_dim:
            contexts = self._guide.memory(denoiser)
        return Conditioning(times, contexts, self._guide.mask)
