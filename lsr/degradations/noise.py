"""Gaussian and Poisson noise, in colour or grey."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Generator, Tensor

from lsr.degradations.canvas import Extent, replicate_outside
from lsr.degradations.parameters import Stage

_LEVELS = 256
_OUTCOMES = 512
_OUTCOME_BITS = 9
_THRESHOLD_BITS = 31 - _OUTCOME_BITS
_LUMA = (0.2989, 0.587, 0.114)


def add_gaussian(x: Tensor, sigma: float, grey: bool, generator: Generator) -> Tensor:
    """Add Gaussian noise of standard deviation `sigma` to `(3, H, W)` and clip to [0, 1]."""
    return torch.add(x, _normal(x.shape, grey, generator), alpha=sigma).clamp_(0, 1)


def add_poisson(x: Tensor, amount: float, grey: bool, generator: Generator) -> Tensor:
    """Add `amount` times the Poisson noise of the 8 bit image to `(3, H, W)` and clip to [0, 1].

    With k the image in 8 bit levels and v the number of distinct levels, rounded up to a power of two, the noise is
    Poisson(v k / 255) / v - k / 255, as in Real-ESRGAN. Grey noise takes k and v from the luma.

    The rates take 256 values only, so every variate is one look-up in an alias table (Walker 1977): exact to 2^-31 and several
    times faster than sampling by rejection.

    Args:
        x: float32 image, nominally in [0, 1].
        amount: factor on the noise.
        grey: one field for the three channels.
        generator: source of the field, on the device of `x`.
    """
    level = _levels(_luma(x) if grey else x)
    distinct = int(
        torch.count_nonzero(torch.bincount(level.to(torch.uint8).flatten(), minlength=_LEVELS))
    )
    exponent = (distinct - 1).bit_length()
    count = _look_up(alias_table(exponent, x.device), level, _bits(x.shape, grey, generator))
    noise = count.float().mul_(2.0**-exponent).sub_(level, alpha=1 / 255)
    return torch.add(x, noise, alpha=amount).clamp_(0, 1)


def add_noise_ragged(
    x: Tensor,
    stages: Sequence[Stage],
    sizes: Sequence[tuple[int, int]],
    generators: Sequence[Generator],
) -> Tensor:
    """Add to each image of a canvas `(B, 3, H, W)` what `add_gaussian` or `add_poisson` would add to it alone.

    Args:
        x: float32 images in the upper left corners of the canvas.
        stages: type, amount and colour of the noise of each image.
        sizes: (height, width) of each image.
        generators: source of each image's field, on the device of `x`.

    Returns:
        `(B, 3, H, W)` clipped to [0, 1].
    """
    noise = torch.zeros_like(x)
    poisson = [i for i, stage in enumerate(stages) if stage.noise == "poisson"]
    bits = torch.zeros((len(poisson), *x.shape[1:]), dtype=torch.int32, device=x.device)
    for i, (stage, (height, width), generator) in enumerate(
        zip(stages, sizes, generators, strict=True)
    ):
        if stage.noise == "gaussian":
            noise[i, :, :height, :width] = _normal((height, width), stage.grey, generator)
        else:
            bits[poisson.index(i), :, :height, :width] = _bits(
                (height, width), stage.grey, generator
            )
    if poisson:
        index = torch.tensor(poisson).to(x.device, non_blocking=True)
        grey = torch.tensor([stages[i].grey for i in poisson]).to(x.device, non_blocking=True)
        images = x[index]
        level = _levels(torch.where(grey[:, None, None, None], _luma(images), images))
        noise[index] = _poisson_ragged(
            level, bits, Extent.of([sizes[i] for i in poisson], x.device)
        )
    amount = torch.tensor([stage.amount for stage in stages], dtype=x.dtype).to(
        x.device, non_blocking=True
    )
    return noise.mul_(amount[:, None, None, None]).add_(x).clamp_(0, 1)


def _poisson_ragged(level: Tensor, bits: Tensor, extent: Extent) -> Tensor:
    """Return the unscaled Poisson noise of `(B, 3, H, W)` levels, without waiting for the device."""
    inside = replicate_outside(level, extent).flatten(1)
    present = torch.zeros((len(level), _LEVELS), dtype=torch.bool, device=level.device).scatter_(
        1, inside.long(), True
    )
    distinct = present.sum(1, keepdim=True)
    exponent = (distinct > 2 ** torch.arange(8, device=level.device)).sum(1)[:, None, None, None]
    count = _look_up(alias_tables(level.device), level + exponent.int() * _LEVELS, bits)
    return count.float().mul_(torch.exp2(-exponent.float())).sub_(level, alpha=1 / 255)


def _normal(shape: Sequence[int], grey: bool, generator: Generator) -> Tensor:
    return torch.randn(
        (1 if grey else 3, *shape[-2:]), generator=generator, device=generator.device
    )


def _bits(shape: Sequence[int], grey: bool, generator: Generator) -> Tensor:
    return torch.empty(
        (1 if grey else 3, *shape[-2:]), dtype=torch.int32, device=generator.device
    ).random_(generator=generator)


def _luma(x: Tensor) -> Tensor:
    """Return the luma of `(..., 3, H, W)`: `(..., 1, H, W)`."""
    r, g, b = x.split(1, -3)
    return (_LUMA[0] * r).add_(g, alpha=_LUMA[1]).add_(b, alpha=_LUMA[2])


def _levels(x: Tensor) -> Tensor:
    return (x * 255).round_().clamp_(0, 255).int()


def _look_up(table: Tensor, level: Tensor, bits: Tensor) -> Tensor:
    """Return the Poisson counts that the random `bits` (31 of them) select for every `level`, which may include a table's offset."""
    column = bits & (_OUTCOMES - 1)
    entry = table.index_select(0, (level * _OUTCOMES).add_(column).flatten()).view(level.shape)
    return torch.where(
        (bits >> _OUTCOME_BITS) < (entry >> _OUTCOME_BITS), column, entry & (_OUTCOMES - 1)
    )


@lru_cache(maxsize=2)
def alias_tables(device: torch.device) -> Tensor:
    """Return `alias_table` for the exponents 0 to 8, concatenated."""
    return torch.cat([alias_table(exponent, device) for exponent in range(9)])


@lru_cache(maxsize=2 * 9)
def alias_table(exponent: int, device: torch.device) -> Tensor:
    """Return the alias tables of Poisson(2^exponent k / 255), k = 0 ... 255, concatenated: `(256 * 512,)` int32.

    An entry holds the acceptance threshold of its column in the upper bits and the column's alias in the lower nine.
    """
    outcome = np.arange(_OUTCOMES)
    rate = 2**exponent * np.arange(_LEVELS)[:, None] / 255
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(outcome[1:]))])
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = np.exp(outcome * np.log(rate) - rate - log_factorial)
    mass[0] = outcome == 0
    mass *= _OUTCOMES / mass.sum(1, keepdims=True)
    accept, alias = _alias(mass)
    packed = (
        np.minimum(accept * 2**_THRESHOLD_BITS, 2**_THRESHOLD_BITS - 1).astype(np.int64)
        << _OUTCOME_BITS
        | alias
    )
    return torch.from_numpy(packed.astype(np.int32).ravel()).to(device)


def _alias(mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve the alias method for each row of `mass` (mean 1): columns short of 1 are filled up by the columns above it.

    One sweep in ascending order: `giver` walks down from the heaviest column, and once a giver has fallen below 1 it is filled up itself
    by the next one.
    """
    rows, size = mass.shape
    row = np.arange(rows)
    order = np.argsort(mass, axis=1, kind="stable")
    ascending = np.take_along_axis(mass, order, 1)
    accept = np.ones((rows, size))
    alias = np.tile(np.arange(size), (rows, 1))
    giver = np.full(rows, size - 1)
    taker = np.zeros(rows, dtype=np.int64)
    left = ascending[:, -1].copy()
    for _ in range(size - 1):
        give = left >= 1
        column = np.where(give, taker, giver)
        share = np.where(give, ascending[row, taker], left)
        heir = np.where(give, giver, np.maximum(giver - 1, 0))
        accept[row, order[row, column]] = np.minimum(share, 1)
        alias[row, order[row, column]] = order[row, heir]
        left = np.where(give, left, ascending[row, heir]) - (1 - share)
        taker = taker + give
        giver = heir
    return accept, alias
