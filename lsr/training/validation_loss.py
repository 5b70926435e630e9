"""The flow matching loss on validation images, at fixed times.

With fixed times, two values differ because of the weights and not because of the drawn times.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lsr.batch import Batch, Context
from lsr.flow.timesteps import shift_timesteps, unshift_timesteps
from lsr.guidance.context import shuffled
from lsr.inference.sampling import pad_to_multiple
from lsr.models.condition import Condition
from lsr.models.mixture import Model

OTHER_CONTEXT = "loss_other_context"
"""Name of the loss when each image has the guidance of its neighbour in the batch.

The more useful the guidance is, the more this loss exceeds `loss`.
"""

_TIMES = (0.125, 0.375, 0.625, 0.875)
"""The times of `loss` before the shift: the middles of four equal parts of [0, 1]."""


class ValidationLoss:
    """Computes the flow matching losses of images.

    `loss` is the mean over four fixed times. For a mixture, `loss_expert_<i>` is the loss at the
    middle of the interval of expert i before the shift.

    Args:
        denoiser: The model.
        shift: Shift of its flow times.

    Attributes:
        times: For each loss, the times before the shift over which it is averaged.
    """

    def __init__(self, denoiser: Model, shift: float) -> None:
        self.denoiser = denoiser
        self.shift = shift
        self.times: dict[str, tuple[float, ...]] = {"loss": _TIMES}
        if denoiser.shares:
            edges = unshift_timesteps(
                torch.tensor([0.0, *denoiser.shares["boundaries"], 1.0], dtype=torch.float64), shift
            )
            middles = ((edges[:-1] + edges[1:]) / 2).tolist()
            self.times |= {f"loss_expert_{i}": (middle,) for i, middle in enumerate(middles)}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all losses that a batch may have."""
        return (*self.times, OTHER_CONTEXT)

    def __call__(
        self,
        batch: Batch,
        draw_noise: Callable[[tuple[int, ...]], Tensor],
        context: Context | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses (B,) of a batch by name.

        With guidance this includes `OTHER_CONTEXT`; it is empty, (0,), if the batch has one image,
        which has no neighbour.

        Args:
            batch: Batch with `lr` and `hr`.
            draw_noise: Function that returns standard normal noise (B, C, H / f, W / f), given the
                shape (C, H / f, W / f) of one latent.
            context: The guidance, or None.
        """
        names = list(self.times)
        times = [u for name in names for u in self.times[name]]
        losses = loss_at_times(self.denoiser, batch, draw_noise, times, self.shift, context)
        parts = losses.split([len(self.times[name]) for name in names], dim=1)
        found = {name: part.mean(1) for name, part in zip(names, parts, strict=True)}
        if context is not None:
            # Every batch has this name: ranks that log different names would wait for each other.
            found[OTHER_CONTEXT] = losses.new_empty(0)
            if len(context.mask) > 1:
                found[OTHER_CONTEXT] = loss_at_times(
                    self.denoiser, batch, draw_noise, _TIMES, self.shift, shuffled(context)
                ).mean(1)
        return found


@torch.no_grad()
def loss_at_times(
    denoiser: Model,
    batch: Batch,
    draw_noise: Callable[[tuple[int, ...]], Tensor],
    times: Sequence[float],
    shift: float,
    context: Context | None = None,
) -> Tensor:
    """Return the flow matching losses (B, T) of B images at T times.

    Args:
        denoiser: The model.
        batch: See `ValidationLoss`.
        draw_noise: See `ValidationLoss`.
        times: Times in [0, 1] before the shift.
        shift: Shift of the flow times.
        context: The guidance, or None.
    """
    return losses_of(denoiser, flow_pairs(denoiser, batch, draw_noise, context), times, shift)


class FlowPairs(NamedTuple):
    """What the losses of some images are computed from.

    Attributes:
        x_0: Data of the flow (B, C, H / f, W / f).
        noise: Noise of the same shape.
        condition: Condition of the LR images.
    """

    x_0: Tensor
    noise: Tensor
    condition: Condition


@torch.no_grad()
def flow_pairs(
    denoiser: Model,
    batch: Batch,
    draw_noise: Callable[[tuple[int, ...]], Tensor],
    context: Context | None,
) -> FlowPairs:
    """Encode a batch, and draw its noise; for the arguments see `loss_at_times`."""
    assert "hr" in batch
    multiple = denoiser.lr_multiple
    condition = denoiser.condition(pad_to_multiple(batch["lr"], multiple), *(context or ()))
    x_0 = denoiser.encode(pad_to_multiple(batch["hr"], multiple * denoiser.config.scale), condition)
    return FlowPairs(x_0, draw_noise(tuple(x_0.shape[1:])), condition)


@torch.no_grad()
def losses_of(denoiser: Model, pairs: FlowPairs, times: Sequence[float], shift: float) -> Tensor:
    """Return the losses (B, T) of encoded images, see `loss_at_times`."""
    x_0, noise, condition = pairs
    flow_times = shift_timesteps(torch.tensor(times, device=x_0.device), shift)
    return torch.stack(
        [denoiser.loss(x_0, noise, t.expand(len(x_0)), condition) for t in flow_times], dim=1
    )
