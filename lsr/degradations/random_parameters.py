"""Draw the random parameters of a sample as a pure function of (config, seed, epoch, index)."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from lsr.degradations.config import KERNEL_FAMILIES, RESIZE_MODES, DegradationConfig, Range
from lsr.degradations.parameters import DegradationParameters, Kernel, Stage

# Second word of the Philox key: other users of the same seed get other numbers.
_STREAM = 0x6465677261646531

# Numbers drawn for a sample; a few are left over for parameters to come.
_UNIFORMS = 48

_WORD = 2**64


def draw(cfg: DegradationConfig, seed: int, epoch: int, index: int) -> DegradationParameters:
    """Draw the parameters of one sample.

    The numbers come from a counter-based generator (Philox; Salmon et al., "Parallel random
    numbers: as easy as 1, 2, 3", 2011) with seed, epoch and index in its key and counter. So they
    do not depend on workers, batch size, order or resumption, nor on the values of `cfg`. Every
    parameter has its own number: to change one setting leaves the other parameters as they were.

    Args:
        cfg: Configuration to draw from.
        seed: Seed of the run.
        epoch: Epoch, or number of the draw.
        index: Index of the sample in the whole data set.

    Raises:
        ValueError: Seed, epoch or index is negative or does not fit 64 bits.
    """
    for name, value in (("seed", seed), ("epoch", epoch), ("index", index)):
        if not 0 <= value < _WORD:
            raise ValueError(f"{name} must lie in [0, 2**64), got {value}")
    u = _uniform_numbers(seed, epoch, index)
    # The order of these calls decides which number goes to which parameter: do not change it.
    kernel_1 = _draw_kernel(u, cfg, cfg.kernel_sizes_1, cfg.sigma_1)
    first = _draw_stage(
        u,
        cfg,
        kernel_1,
        cfg.resize_1_probabilities,
        cfg.resize_1_range,
        cfg.gaussian_1,
        cfg.poisson_1,
    )
    blurred = next(u) < cfg.blur_2_probability
    kernel_2 = _draw_kernel(u, cfg, cfg.kernel_sizes_2, cfg.sigma_2)
    second = _draw_stage(
        u,
        cfg,
        kernel_2 if blurred else None,
        cfg.resize_2_probabilities,
        cfg.resize_2_range,
        cfg.gaussian_2,
        cfg.poisson_2,
    )
    second_stage = next(u) < cfg.second_stage_probability
    final_size = _odd_size(next(u), cfg.kernel_sizes_final)
    final_sinc = Kernel("sinc", final_size, cutoff=_uniform(next(u), (math.pi / 3, math.pi)))
    return DegradationParameters(
        first=first,
        second=second if second_stage else None,
        final_sinc=final_sinc if next(u) < cfg.final_sinc_probability else None,
        quality_1=_uniform(next(u), cfg.jpeg_quality_1),
        quality_2=_uniform(next(u), cfg.jpeg_quality_2),
        final_mode=_choose(next(u), RESIZE_MODES),
        jpeg_last=next(u) < 0.5,
        identity=next(u) < cfg.identity_probability,
        noise_seed=int(next(u) * 2**53),
    )


def _uniform_numbers(seed: int, epoch: int, index: int) -> Iterator[float]:
    """Return the sample's numbers in [0, 1)."""
    words = np.array([[seed, _STREAM, 0, 0], [0, 0, epoch, index]], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=words[0, :2], counter=words[1]))
    return iter(generator.random(_UNIFORMS).tolist())


def _draw_kernel(
    u: Iterator[float], cfg: DegradationConfig, sizes: tuple[int, int], sigma: Range
) -> Kernel:
    sinc, family_u, size_u, x_u, y_u, theta_u, side, beta_u, cutoff_u = (next(u) for _ in range(9))
    size = _odd_size(size_u, sizes)
    if sinc < cfg.sinc_probability:
        # The ranges of Real-ESRGAN: only large kernels get the lowest cut-offs.
        lowest = math.pi / 3 if size < 13 else math.pi / 5
        return Kernel("sinc", size, cutoff=_uniform(cutoff_u, (lowest, math.pi)))
    family = _choose(family_u, KERNEL_FAMILIES, cfg.kernel_probabilities)
    isotropic = not family.endswith("aniso")
    sigma_x = _uniform(x_u, sigma)
    return Kernel(
        family,
        size,
        sigma_x=sigma_x,
        sigma_y=sigma_x if isotropic else _uniform(y_u, sigma),
        theta=0.0 if isotropic else _uniform(theta_u, (-math.pi, math.pi)),
        beta=_shape_exponent(family, cfg, side, beta_u),
    )


def _shape_exponent(family: str, cfg: DegradationConfig, side: float, u: float) -> float:
    """Return beta: from (low, 1) if `side` is below 0.5, else from (1, high); 1 for a Gaussian."""
    if family in ("iso", "aniso"):
        return 1.0
    low, high = cfg.beta_plateau if family.startswith("plateau") else cfg.beta_generalized
    below = min(low, 1.0), min(high, 1.0)
    above = max(low, 1.0), max(high, 1.0)
    return _uniform(u, below if side < 0.5 else above)


def _draw_stage(
    u: Iterator[float],
    cfg: DegradationConfig,
    kernel: Kernel | None,
    resize_probabilities: tuple[float, float, float],
    resize_range: Range,
    gaussian: Range,
    poisson: Range,
) -> Stage:
    direction_u, factor_u, mode_u, noise_u, amount_u, grey_u = (next(u) for _ in range(6))
    direction = _choose(direction_u, ("up", "down", "keep"), resize_probabilities)
    low, high = resize_range
    bounds = {"up": (1.0, high), "down": (low, 1.0), "keep": (1.0, 1.0)}[direction]
    is_gaussian = noise_u < cfg.gaussian_probability
    return Stage(
        kernel=kernel,
        factor=_uniform(factor_u, bounds),
        mode=_choose(mode_u, RESIZE_MODES),
        noise="gaussian" if is_gaussian else "poisson",
        amount=_uniform(amount_u, gaussian) / 255 if is_gaussian else _uniform(amount_u, poisson),
        grey=grey_u < cfg.grey_probability,
    )


def _uniform(u: float, bounds: Range) -> float:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _odd_size(u: float, sizes: tuple[int, int]) -> int:
    return sizes[0] + 2 * int(u * ((sizes[1] - sizes[0]) // 2 + 1))


def _choose(u: float, names: Sequence[str], weights: Sequence[float] | None = None) -> str:
    """Return one of `names`, with probabilities `weights`, or equal ones if `weights` is None."""
    if weights is None:
        return names[int(u * len(names))]
    for name, weight in zip(names, weights, strict=True):
        u -= weight
        if u < 0:
            return name
    # Weights may sum to a little less than 1. The last name that has a weight gets the rest.
    backwards = zip(reversed(names), reversed(weights), strict=True)
    return next(name for name, weight in backwards if weight > 0)
