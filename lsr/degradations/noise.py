"""Gaussian and Poisson noise, in colour or grey."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Generator, Tensor

from lsr.degradations.canvas import Extent, replicate_outside
from lsr.degradations.parameters import Stage

_LEVELS = 256

# A count of a Poisson distribution of rate 256, the largest rate, is above 511 with a probability
# below 1e-40.
_OUTCOMES = 512
_OUTCOME_BITS = 9
_THRESHOLD_BITS = 31 - _OUTCOME_BITS

# Weights of R, G, B in the luma: those of torchvision's rgb_to_grayscale, which Real-ESRGAN uses.
_LUMA = (0.2989, 0.587, 0.114)


def add_gaussian(x: Tensor, sigma: float, grey: bool, generator: Generator) -> Tensor:
    """Add Gaussian noise to an image `(3, H, W)` and clip to [0, 1].

    Args:
        x: Image, float32, in [0, 1].
        sigma: Standard deviation of the noise in units of the range [0, 1].
        grey: Whether the three channels get the same noise.
        generator: Source of the noise, on the device of `x`.
    """
    return torch.add(x, _normal(x.shape, grey, generator), alpha=sigma).clamp_(0, 1)


def add_poisson(x: Tensor, amount: float, grey: bool, generator: Generator) -> Tensor:
    """Add Poisson noise to an image `(3, H, W)` and clip to [0, 1].

    With k the image in 8-bit levels and v the number of its distinct levels, rounded up to a power
    of two, the noise is amount (Poisson(v k / 255) / v - k / 255), as in Real-ESRGAN
    (arXiv 2107.10833). Grey noise takes k and v from the luma.

    There are only 256 different rates, so every Poisson number is looked up in an alias table
    (Walker, "An efficient method for generating discrete random variables with general
    distributions", 1977). This is exact to 2^-31 and several times faster than rejection sampling.

    Args:
        x: Image, float32, in [0, 1] up to overshoots.
        amount: Factor on the noise.
        grey: Whether the three channels get the same noise.
        generator: Source of the noise, on the device of `x`.
    """
    level = _levels(_luma(x) if grey else x)
    histogram = torch.bincount(level.to(torch.uint8).flatten(), minlength=_LEVELS)
    distinct = int(torch.count_nonzero(histogram))
    # The logarithm of v to base 2.
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
    """Add to each image of a batch the noise that `add_gaussian` or `add_poisson` would add to it.

    Args:
        x: Canvas `(B, 3, H, W)`, float32, with the images.
        stages: Stages with type, strength and colour of the noise of each image.
        sizes: Height and width of each image in pixels.
        generators: Sources of the noise of each image, on the device of `x`.

    Returns:
        Canvas `(B, 3, H, W)`, clipped to [0, 1].
    """
    noise = torch.zeros_like(x)
    poisson = [i for i, stage in enumerate(stages) if stage.noise == "poisson"]
    bits = torch.zeros((len(poisson), *x.shape[1:]), dtype=torch.int32, device=x.device)
    for i, (stage, size, generator) in enumerate(zip(stages, sizes, generators, strict=True)):
        height, width = size
        if stage.noise == "gaussian":
            noise[i, :, :height, :width] = _normal(size, stage.grey, generator)
        else:
            row = poisson.index(i)
            bits[row, :, :height, :width] = _bits(size, stage.grey, generator)
    if poisson:
        index = torch.tensor(poisson).to(x.device, non_blocking=True)
        grey = torch.tensor([stages[i].grey for i in poisson]).to(x.device, non_blocking=True)
        images = x[index]
        level = _levels(torch.where(grey[:, None, None, None], _luma(images), images))
        extent = Extent.of([sizes[i] for i in poisson], x.device)
        noise[index] = _poisson_ragged(level, bits, extent)
    amounts = torch.tensor([stage.amount for stage in stages], dtype=x.dtype)
    amount = amounts.to(x.device, non_blocking=True)
    return noise.mul_(amount[:, None, None, None]).add_(x).clamp_(0, 1)


def _poisson_ragged(level: Tensor, bits: Tensor, extent: Extent) -> Tensor:
    """Return Poisson noise of factor 1, without waiting for the device.

    Args:
        level: 8-bit levels `(B, 3, H, W)`.
        bits: Random bits, 31 per number, `(B, 3, H, W)`.
        extent: Sizes of the images.
    """
    # Replicated borders add no level to those inside of an image.
    inside = replicate_outside(level, extent).flatten(1)
    absent = torch.zeros((len(level), _LEVELS), dtype=torch.bool, device=level.device)
    present = absent.scatter_(1, inside.long(), True)
    distinct = present.sum(1, keepdim=True)
    # The number of levels, rounded up to a power of two, is 2^exponent.
    exponent = (distinct > 2 ** torch.arange(8, device=level.device)).sum(1)[:, None, None, None]
    count = _look_up(alias_tables(level.device), level + exponent.int() * _LEVELS, bits)
    return count.float().mul_(torch.exp2(-exponent.float())).sub_(level, alpha=1 / 255)


def _normal(shape: Sequence[int], grey: bool, generator: Generator) -> Tensor:
    shape = 1 if grey else 3, *shape[-2:]
    return torch.randn(shape, generator=generator, device=generator.device)


def _bits(shape: Sequence[int], grey: bool, generator: Generator) -> Tensor:
    shape = 1 if grey else 3, *shape[-2:]
    bits = torch.empty(shape, dtype=torch.int32, device=generator.device)
    return bits.random_(generator=generator)


def _luma(x: Tensor) -> Tensor:
    """Return the luma `(..., 1, H, W)` of RGB images `(..., 3, H, W)`."""
    r, g, b = x.split(1, -3)
    return (_LUMA[0] * r).add_(g, alpha=_LUMA[1]).add_(b, alpha=_LUMA[2])


def _levels(x: Tensor) -> Tensor:
    return (x * 255).round_().clamp_(0, 255).int()


def _look_up(table: Tensor, level: Tensor, bits: Tensor) -> Tensor:
    """Return Poisson counts.

    The lower 9 random bits choose a column of the alias table. The upper 22 bits decide between the
    column itself and its alias, by the column's acceptance threshold.

    Args:
        table: Tables from `alias_table` or `alias_tables`.
        level: Index of the table for each number: the 8-bit level, plus 256 times the exponent for
            `alias_tables`.
        bits: Random bits, 31 per number, of a shape that broadcasts to that of `level`.
    """
    column = bits & (_OUTCOMES - 1)
    entry = table.index_select(0, (level * _OUTCOMES).add_(column).flatten()).view(level.shape)
    accepted = (bits >> _OUTCOME_BITS) < (entry >> _OUTCOME_BITS)
    return torch.where(accepted, column, entry & (_OUTCOMES - 1))


@lru_cache(maxsize=2)
def alias_tables(device: torch.device) -> Tensor:
    """Return the tables of `alias_table` for the exponents 0 to 8, concatenated."""
    return torch.cat([alias_table(exponent, device) for exponent in range(9)])


@lru_cache(maxsize=2 * 9)
def alias_table(exponent: int, device: torch.device) -> Tensor:
    """Return the alias tables of Poisson(2^exponent k / 255) for k = 0 ... 255, concatenated.

    An entry holds the acceptance threshold of its column in the upper 22 bits and the alias of the
    column in the lower 9.

    Args:
        exponent: Logarithm of the number of distinct levels to base 2, 0 to 8.
        device: Device of the result.

    Returns:
        Tables `(256 * 512,)`, int32.
    """
    outcome = np.arange(_OUTCOMES)
    rate = 2**exponent * np.arange(_LEVELS)[:, None] / 255
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(outcome[1:]))])
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = np.exp(outcome * np.log(rate) - rate - log_factorial)
    mass[0] = outcome == 0  # the formula gives 0 log 0 for a rate of zero
    mass *= _OUTCOMES / mass.sum(1, keepdims=True)
    accept, alias = _solve_alias(mass)
    threshold = np.minimum(accept * 2**_THRESHOLD_BITS, 2**_THRESHOLD_BITS - 1).astype(np.int64)
    packed = threshold << _OUTCOME_BITS | alias
    return torch.from_numpy(packed.astype(np.int32).ravel()).to(device)


def _solve_alias(mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve the alias method for each row: columns above 1 fill up the columns below 1.

    One sweep in ascending order suffices. `giver` starts at the heaviest column; when a giver has
    fallen below 1 itself, the next heaviest column fills it up and becomes the giver.

    Args:
        mass: Probabilities times the number of columns, `(rows, columns)`; the mean of a row is 1.

    Returns:
        For each column its acceptance probability in [0, 1] and the index of its alias.
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
