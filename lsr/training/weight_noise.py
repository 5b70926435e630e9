"""The rise of the validation loss under noise on the weights: how sensitive a model has become.

Long training makes a model sensitive: the same noise costs more and more ("Overtrained language
models are harder to fine-tune", arXiv 2503.19206). Fine-tuning changes the weights as well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lsr.batch import Batch, Context
from lsr.distributed.tensors import own_part
from lsr.models.mixture import Model
from lsr.training.validation_loss import flow_pairs, losses_of

_NOISE = 0.05
"""Standard deviation of the noise, relative to the root mean square of each weight tensor."""

_TIME = (0.875,)
"""The time of the loss before the shift, the noisiest of `ValidationLoss`."""


@contextmanager
def noisy_weights(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Add noise to all weights within this context; then they are what they were, bit for bit.

    Every tensor gets the first numbers of one sequence, scaled by the root mean square of its
    weights.

    Args:
        model: The model, sharded or not. A copy of its weights is kept meanwhile.
        seed: Seed of the noise. On the same device it is always the same noise.
    """
    parts = [own_part(parameter.detach()) for parameter in model.parameters()]
    kept = [part.clone() for part in parts]
    # Drawn once for the largest tensor: to draw for each took a tenth of the whole measurement.
    draws = torch.empty(max(part.numel() for part in parts), device=parts[0].device)
    draws.normal_(generator=torch.Generator(draws.device).manual_seed(seed))
    try:
        for part in parts:
            noise = draws[: part.numel()].view_as(part).to(part.dtype)
            part.addcmul_(noise, _NOISE * part.square().mean().sqrt())
        yield
    finally:
        for part, before in zip(parts, kept, strict=True):
            part.copy_(before)


def loss_rise(
    model: Model,
    batch: Batch,
    draw_noise: Callable[[tuple[int, ...]], Tensor],
    shift: float,
    context: Context | None = None,
) -> float:
    """Return how much the loss of a batch rises under noise of 5 % on the weights.

    The noise in each tensor has 5 % of the root mean square of its weights.

    Args:
        model: The model.
        batch: See `ValidationLoss`.
        draw_noise: See `ValidationLoss`.
        shift: Shift of the flow times.
        context: The guidance, or None.
    """
    pairs = flow_pairs(model, batch, draw_noise, context)
    before = losses_of(model, pairs, _TIME, shift)
    with noisy_weights(model):
        # The LR features depend on the weights, the encoded images do not.
        after = losses_of(model, pairs._replace(condition=pairs.condition.afresh()), _TIME, shift)
    return float((after - before).mean())
