"""Convert times to signal-to-noise ratios, and divide the times among experts by these ratios."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

Schedule = Literal["rectified", "ddpm_scaled_linear", "ddpm_linear", "ddpm_cosine"]
"""Names of noise schedules, see `log_snr`."""

ANCHOR = 0.875
"""Time at which LinearSR separates structure (noisier) from texture (less noisy)."""

PUBLISHED = (0.223, 0.875, 0.939)
"""Boundaries between the four experts of LinearSR (arXiv 2510.08771); see `expert_boundaries`."""

T_RANGE = (0.0116, 0.9713)
"""Least and greatest time for which `expert_boundaries` of "rectified" returns `PUBLISHED`."""

_DDPM_STEPS = 1000


def log_snr(t: np.ndarray | float, schedule: Schedule = "rectified") -> np.ndarray:
    """Return the logarithm of the ratio of signal power to noise power, which falls with t.

    - "rectified": `ln((1 - t)^2 / t^2) = 2 ln((1 - t) / t)` of the path of `lsr.flow.path`.
    - "ddpm_scaled_linear", "ddpm_linear" and "ddpm_cosine": `ln(a / (1 - a))` of a diffusion with
      signal power a and noise power 1 - a, where a is the product of `1 - beta` up to step 1000 t,
      interpolated between steps. The 1000 betas are, in this order: the squares of evenly spaced
      numbers from sqrt(0.00085) to sqrt(0.012) (Stable Diffusion), evenly spaced numbers from 1e-4
      to 0.02 (Ho et al., arXiv 2006.11239), and those of a squared cosine (Nichol and Dhariwal,
      arXiv 2102.09672).

    Args:
        t: Times in [0, 1].
        schedule: Name of the noise schedule.

    Returns:
        Log SNR in the shape of `t`, float64; infinite where there is no noise or no signal.

    Raises:
        ValueError: If there is no schedule of this name.
    """
    t = np.asarray(t, np.float64)
    if schedule == "rectified":
        with np.errstate(divide="ignore"):
            return 2 * (np.log1p(-t) - np.log(t))
    return np.interp(t, *_ddpm(schedule))


def time_of(value: np.ndarray | float, schedule: Schedule = "rectified") -> np.ndarray:
    """Return the time at which `log_snr` has the given value: the inverse function of `log_snr`."""
    value = np.asarray(value, np.float64)
    if schedule == "rectified":
        return 1 / (1 + np.exp(value / 2))
    times, ratios = _ddpm(schedule)
    # `np.interp` wants increasing points, but the ratios fall with time.
    return np.interp(-value, -ratios, times)


def _ddpm(schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
    """Return the times 1 / 1000, 2 / 1000, ..., 1 of the steps and the log SNR at each."""
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
    """Return the betas of arXiv 2102.09672, equation 17: of a(k) = cos^2, cut off at 0.999."""
    level = np.cos((np.arange(_DDPM_STEPS + 1) / _DDPM_STEPS + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - level[1:] / level[:-1], 0.999)


def expert_boundaries(
    n_experts: int,
    anchor: float = ANCHOR,
    t_range: tuple[float, float] = T_RANGE,
    schedule: Schedule = "rectified",
) -> tuple[float, ...]:
    """Divide the times among experts by hierarchical bisection in log SNR (arXiv 2510.08771).

    The anchor divides `t_range` in two. Each interval is then divided at the time whose log SNR is
    the mean of the log SNR at its two ends, until there is one interval per expert. The paper
    publishes (0.223, 0.875, 0.939) for four experts, but names neither the schedule nor the range
    of times. This function returns, for four experts:

    - "rectified" over (0.0116, 0.9713): 0.223, 0.875, 0.939, the published values, so this
      range is the default;
    - "ddpm_scaled_linear" over (0.001, 1): 0.153, 0.875, 0.940;
    - "ddpm_linear" over (0.001, 1): 0.194, 0.875, 0.939.

    Args:
        n_experts: Number of experts, a power of two.
        anchor: Boundary that the first division makes, inside `t_range`.
        t_range: Least and greatest time; log SNR must be finite at both.
        schedule: Name of the noise schedule, see `log_snr`.

    Returns:
        `n_experts - 1` increasing times.

    Raises:
        ValueError: If an argument is out of range.
    """
    if n_experts < 1 or n_experts & (n_experts - 1):
        raise ValueError(
            f"the number of experts (experts.n) must be a power of two, not {n_experts}"
        )
    low, high = t_range
    ends = log_snr(np.array([low, high]), schedule)
    if not 0 <= low < anchor < high <= 1 or not np.isfinite(ends).all():
        raise ValueError(
            f"t_range must enclose the anchor {anchor}, lie within 0 and 1, and have a finite log "
            f"SNR at both ends, not {t_range}"
        )

    def divide(low: float, high: float, n: int, middle: float | None = None) -> list[float]:
        if n == 1:
            return []
        if middle is None:
            middle = float(time_of(log_snr(np.array([low, high]), schedule).mean(), schedule))
        return [*divide(low, middle, n // 2), middle, *divide(middle, high, n // 2)]

    return tuple(divide(low, high, n_experts, anchor))


def uniform_boundaries(n_experts: int) -> tuple[float, ...]:
    """Return boundaries that divide the times evenly: 0.25, 0.5 and 0.75 for four experts."""
    return tuple(i / n_experts for i in range(1, n_experts))
