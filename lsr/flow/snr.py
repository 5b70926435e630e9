"""What a time means as a signal-to-noise ratio, and where experts that share the times by it begin and end."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

Schedule = Literal["rectified", "ddpm_scaled_linear", "ddpm_linear", "ddpm_cosine"]

ANCHOR = 0.875
"""Where LinearSR divides structure from texture."""

PUBLISHED = (0.223, 0.875, 0.939)
"""Boundaries of LinearSR (arXiv 2510.08771); see `expert_boundaries`."""

T_RANGE = (0.0116, 0.9713)
"""The times over which the bisection of the rectified path gives the published boundaries."""

_DDPM_STEPS = 1000


def log_snr(t: np.ndarray | float, schedule: Schedule = "rectified") -> np.ndarray:
    """Return the logarithm of the ratio of signal to noise power, falling in t.

    - "rectified": `2 ln((1 - t) / t)`, of the straight path `x_t = (1 - t) x_0 + t noise`.
    - "ddpm_scaled_linear", "ddpm_linear", "ddpm_cosine": `ln(a / (1 - a))`, a = the product of `1 - beta` up to step 1000 t, between
      steps interpolated. Betas: the squares of 1000 numbers from sqrt(0.00085) to sqrt(0.012) (Stable Diffusion), 1000 numbers from
      1e-4 to 0.02 (Ho et al., arXiv 2006.11239), or those of a squared cosine (Nichol and Dhariwal, arXiv 2102.09672).

    Args:
        t: Times in [0, 1].
        schedule: How noise grows with time.

    Returns:
        Of the shape of `t`, float64; infinite where there is no noise or no signal.

    Raises:
        ValueError: If there is no such schedule.
    """
    t = np.asarray(t, np.float64)
    if schedule == "rectified":
        with np.errstate(divide="ignore"):
            return 2 * (np.log1p(-t) - np.log(t))
    return np.interp(t, *_ddpm(schedule))


def time_of(value: np.ndarray | float, schedule: Schedule = "rectified") -> np.ndarray:
    """Return the time at which `log_snr` has a value: its inverse."""
    value = np.asarray(value, np.float64)
    if schedule == "rectified":
        return 1 / (1 + np.exp(value / 2))
    times, ratios = _ddpm(schedule)
    return np.interp(-value, -ratios, times)


def _ddpm(schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
    """Return times 1 / 1000, 2 / 1000, ..., 1 and their log SNR."""
    betas: dict[str, Callable[[], np.ndarray]] = {
        "ddpm_scaled_linear": lambda: (
            np.linspace(math.sqrt(0.00085), math.sqrt(0.012), _DDPM_STEPS) ** 2
        ),
        "ddpm_linear": lambda: np.linspace(1e-4, 0.02, _DDPM_STEPS),
        "ddpm_cosine": _cosine_betas,
    }
    if schedule not in betas:
        raise ValueError(f"unknown schedule {schedule!r}; known are rectified, {', '.join(betas)}")
    signal = np.cumprod(1 - betas[schedule]())
    return np.arange(1, _DDPM_STEPS + 1) / _DDPM_STEPS, np.log(signal) - np.log1p(-signal)


def _cosine_betas() -> np.ndarray:
    level = np.cos((np.arange(_DDPM_STEPS + 1) / _DDPM_STEPS + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - level[1:] / level[:-1], 0.999)


def expert_boundaries(
    n_experts: int,
    anchor: float = ANCHOR,
    t_range: tuple[float, float] = T_RANGE,
    schedule: Schedule = "rectified",
) -> tuple[float, ...]:
    """Divide the times among experts by hierarchical bisection in log SNR.

    The anchor divides the range; each half is divided where its log SNR is the mean of those at its ends, and so on. With four
    experts that gives, against the published (0.223, 0.875, 0.939):

    - "rectified" over (0.0116, 0.9713): 0.223, 0.875, 0.939, which is why that range is the default here;
    - "ddpm_scaled_linear" over (0.001, 1): 0.153, 0.875, 0.940;
    - "ddpm_linear" over (0.001, 1): 0.194, 0.875, 0.939.

    The paper names neither schedule nor range.

    Args:
        n_experts: A power of two.
        anchor: The first boundary, inside of `t_range`.
        t_range: Least and greatest time; log SNR must be finite there.
        schedule: See `log_snr`.

    Returns:
        `n_experts - 1` increasing times.

    Raises:
        ValueError: If an argument is out of range.
    """
    if n_experts < 1 or n_experts & (n_experts - 1):
        raise ValueError(f"the number of experts must be a power of two, not {n_experts}")
    low, high = t_range
    ends = log_snr(np.array([low, high]), schedule)
    if not 0 <= low < anchor < high <= 1 or not np.isfinite(ends).all():
        raise ValueError(
            f"need 0 < t_range[0] < anchor < t_range[1] < 1 with a finite log SNR, got {t_range} and {anchor}"
        )

    def divide(low: float, high: float, n: int, middle: float | None = None) -> list[float]:
        if n == 1:
            return []
        middle = (
            float(time_of(log_snr(np.array([low, high]), schedule).mean(), schedule))
            if middle is None
            else middle
        )
        return [*divide(low, middle, n // 2), middle, *divide(middle, high, n // 2)]

    return tuple(divide(low, high, n_experts, anchor))


def uniform_boundaries(n_experts: int) -> tuple[float, ...]:
    """Divide the times evenly: for four experts 0.25, 0.5, 0.75."""
    return tuple(i / n_experts for i in range(1, n_experts))
