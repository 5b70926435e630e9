"""Draw everything that is random about one sample: a pure function of (config, seed, epoch, index)."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from lsr.degradations.config import KERNEL_FAMILIES, RESIZE_MODES, DegradationConfig

_STREAM = 0x6465677261646531  # the second Philox key word: keeps these numbers apart from other users of the same seed
_UNIFORMS = 48
_WORD = 2**64


@dataclass(frozen=True)
class Kernel:
    """One blur kernel.

    Attributes:
        family: one of `KERNEL_FAMILIES`, or "sinc".
        size: odd side length in pixels.
        sigma_x: standard deviation along the first axis of the rotated kernel, in pixels; 1 for sinc.
        sigma_y: the same along the second axis.
        theta: rotation in radians.
        beta: shape of the generalized and plateau families.
        cutoff: cut-off of the sinc in radians per pixel; 0 for the other families.
    """

    family: str
    size: int
    sigma_x: float = 1.0
    sigma_y: float = 1.0
    theta: float = 0.0
    beta: float = 1.0
    cutoff: float = 0.0


@dataclass(frozen=True)
class Stage:
    """Blur, resize and noise of one stage.

    Attributes:
        kernel: the blur, or None for no blur.
        factor: resize factor, relative to the HR in the first stage and to the LR in the second.
        mode: interpolation, one of `RESIZE_MODES`.
        noise: "gaussian" or "poisson".
        amount: standard deviation in [0, 1] units (Gaussian) or factor on the noise (Poisson).
        grey: one noise field for the three channels.
    """

    kernel: Kernel | None
    factor: float
    mode: str
    noise: str
    amount: float
    grey: bool


@dataclass(frozen=True)
class DegradationParameters:
    """All that is random about one sample.

    Attributes:
        identity: no degradation but the antialiased bicubic reduction.
        first: the first stage.
        second: the second stage, or None to skip it.
        quality_1: quality of the first JPEG, real-valued.
        quality_2: quality of the second JPEG.
        final_mode: interpolation of the closing resize to the LR size.
        final_sinc: the closing sinc filter, or None.
        jpeg_last: the second JPEG follows the closing resize and filter instead of preceding them.
        noise_seed: seed of the sample's noise fields.
    """

    identity: bool
    first: Stage
    second: Stage | None
    quality_1: float
    quality_2: float
    final_mode: str
    final_sinc: Kernel | None
    jpeg_last: bool
    noise_seed: int

    def to_json(self) -> str:
        """Return one line of JSON from which `from_json` makes the same parameters again, bit for bit."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "DegradationParameters":
        """Read a line written by `to_json`.

        Raises:
            ValueError: the text is not such a line.
        """
        try:
            values = json.loads(text)
            for name in ("first", "second"):
                if values[name] is not None:
                    kernel = values[name].pop("kernel")
                    values[name] = Stage(
                        kernel=Kernel(**kernel) if kernel else None, **values[name]
                    )
            if values["final_sinc"] is not None:
                values["final_sinc"] = Kernel(**values["final_sinc"])
            return cls(**values)
        except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a line of degradation parameters: {error}") from None


def draw(cfg: DegradationConfig, seed: int, epoch: int, index: int) -> DegradationParameters:
    """Draw the parameters of sample `index` in `epoch`.

    The numbers come from a counter-based generator (Philox, Salmon et al. 2011) addressed by the arguments, so they depend on
    nothing else: not on workers, batch size, order, resumption or the values of `cfg`. Every parameter has its own number, so
    changing one setting leaves the other parameters as they were.

    Args:
        cfg: the law to draw from.
        seed: seed of the run.
        epoch: epoch, or number of the draw.
        index: index of the sample in the whole data set.

    Raises:
        ValueError: seed, epoch or index is negative or does not fit 64 bits.
    """
    for name, value in (("seed", seed), ("epoch", epoch), ("index", index)):
        if not 0 <= value < _WORD:
            raise ValueError(f"{name} must lie in [0, 2**64), got {value}")
    words = np.array([[seed, _STREAM, 0, 0], [0, 0, epoch, index]], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=words[0, :2], counter=words[1]))
    u = iter(generator.random(_UNIFORMS).tolist())

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
    final_sinc = Kernel(
        "sinc",
        _odd_size(next(u), cfg.kernel_sizes_final),
        cutoff=_uniform(next(u), (math.pi / 3, math.pi)),
    )
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


def _draw_kernel(
    u: Iterator[float], cfg: DegradationConfig, sizes: tuple[int, int], sigma: tuple[float, float]
) -> Kernel:
    sinc, family_u, size_u, x_u, y_u, theta_u, side, beta_u, cutoff_u = (next(u) for _ in range(9))
    size = _odd_size(size_u, sizes)
    if sinc < cfg.sinc_probability:
        return Kernel(
            "sinc",
            size,
            cutoff=_uniform(cutoff_u, (math.pi / 3 if size < 13 else math.pi / 5, math.pi)),
        )
    family = _choose(family_u, KERNEL_FAMILIES, cfg.kernel_probabilities)
    sigma_x = _uniform(x_u, sigma)
    isotropic = not family.endswith("aniso")
    low, high = cfg.beta_plateau if family.startswith("plateau") else cfg.beta_generalized
    below, above = (min(low, 1.0), min(high, 1.0)), (max(low, 1.0), max(high, 1.0))
    return Kernel(
        family,
        size,
        sigma_x=sigma_x,
        sigma_y=sigma_x if isotropic else _uniform(y_u, sigma),
        theta=0.0 if isotropic else _uniform(theta_u, (-math.pi, math.pi)),
        beta=1.0
        if family in ("iso", "aniso")
        else _uniform(beta_u, below if side < 0.5 else above),
    )


def _draw_stage(
    u: Iterator[float],
    cfg: DegradationConfig,
    kernel: Kernel | None,
    resize_probabilities: tuple[float, float, float],
    resize_range: tuple[float, float],
    gaussian: tuple[float, float],
    poisson: tuple[float, float],
) -> Stage:
    direction_u, factor_u, mode_u, noise_u, amount_u, grey_u = (next(u) for _ in range(6))
    direction = _choose(direction_u, ("up", "down", "keep"), resize_probabilities)
    bounds = {"up": (1.0, resize_range[1]), "down": (resize_range[0], 1.0), "keep": (1.0, 1.0)}[
        direction
    ]
    is_gaussian = noise_u < cfg.gaussian_probability
    return Stage(
        kernel=kernel,
        factor=_uniform(factor_u, bounds),
        mode=_choose(mode_u, RESIZE_MODES),
        noise="gaussian" if is_gaussian else "poisson",
        amount=_uniform(amount_u, gaussian) / 255 if is_gaussian else _uniform(amount_u, poisson),
        grey=grey_u < cfg.grey_probability,
    )


def _uniform(u: float, bounds: tuple[float, float]) -> float:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _odd_size(u: float, sizes: tuple[int, int]) -> int:
    return sizes[0] + 2 * int(u * ((sizes[1] - sizes[0]) // 2 + 1))


def _choose(u: float, names: Sequence[str], weights: Sequence[float] | None = None) -> str:
    if weights is None:
        return names[int(u * len(names))]
    for name, weight in zip(names, weights, strict=True):
        u -= weight
        if u < 0:
            return name
    return next(
        name for name, weight in zip(reversed(names), reversed(weights), strict=True) if weight > 0
    )
