"""Flow times: their density in training and their grid in sampling."""

from collections.abc import Sequence

import torch
from torch import Tensor


def shift_timesteps(u: Tensor, shift: float) -> Tensor:
    """Move times towards noise: `t = f u / (1 + (f - 1) u)` (SD3, arXiv 2403.03206, section 5.3.2).

    Training and sampling both go through this function, so that the sampler visits the times the network was trained on.

    Args:
        u: Times of any shape in [0, 1].
        shift: f > 0; 1 leaves the times alone, 3 is SANA's choice.

    Returns:
        Times in [0, 1], same shape; 0 and 1 stay where they are.
    """
    return shift * u / (1 + (shift - 1) * u)


def logit_normal_timesteps(
    z: Tensor, mean: float = 0.0, std: float = 1.0, shift: float = 3.0
) -> Tensor:
    """Turn standard normal draws into times: `shift_timesteps(sigmoid(mean + std z))` (SD3, equation 19).

    Args:
        z: Standard normal draws (B,).
        mean: Location on the logit axis.
        std: Scale on the logit axis.
        shift: See `shift_timesteps`.

    Returns:
        Times (B,) in (0, 1).
    """
    return shift_timesteps(torch.sigmoid(mean + std * z), shift)


def unshift_timesteps(t: Tensor, shift: float) -> Tensor:
    """Return the times that `shift_timesteps` moves to `t`: its inverse."""
    return t / (shift - (shift - 1) * t)


def logit_normal_cdf(t: float, mean: float = 0.0, std: float = 1.0, shift: float = 3.0) -> float:
    """Return the probability that `logit_normal_timesteps` of a standard normal draw is below `t` in [0, 1]."""
    u = unshift_timesteps(torch.tensor(t, dtype=torch.float64), shift)
    return torch.special.ndtr((torch.logit(u) - mean) / std).item()


def logit_normal_between(
    z: Tensor, low: float, high: float, mean: float = 0.0, std: float = 1.0, shift: float = 3.0
) -> Tensor:
    """Turn standard normal draws into times of an interval, with the density that `logit_normal_timesteps` has there.

    A draw goes through its distribution function into [F(low), F(high)], F that of the times, and back.

    Args:
        z: Standard normal draws (B,).
        low: Where the interval begins; belongs to it.
        high: Where it ends; does not belong to it.
        mean: Location on the logit axis.
        std: Scale on the logit axis.
        shift: See `shift_timesteps`.

    Returns:
        Times (B,) float32 in [low, high) as single precision has it.
    """
    lower, upper = (logit_normal_cdf(t, mean, std, shift) for t in (low, high))
    u = lower + (upper - lower) * torch.special.ndtr(
        z.cpu().double()
    )  # not every device has double precision
    t = logit_normal_timesteps(torch.special.ndtri(u), mean, std, shift).float()
    below = torch.nextafter(torch.tensor(high), torch.tensor(0.0))
    return t.clamp(torch.tensor(low), below).to(z.device)


def timestep_grid(
    num_inference_steps: int, shift: float = 3.0, boundaries: Sequence[float] = ()
) -> Tensor:
    """Return the `num_inference_steps + 1` times that a sampler visits, from 1 (noise) down to 0 (data), float64.

    Without `boundaries` they are evenly spaced before the shift. With them no step straddles one: the time that is nearest to a
    boundary moves there, and those in between are evenly spaced again. It moves to the single-precision number just below, so
    that the step that begins there belongs, as all of it does, to what holds the times below the boundary.

    Args:
        num_inference_steps: S.
        shift: See `shift_timesteps`.
        boundaries: Increasing times between 0 and 1, fewer than steps.

    Raises:
        ValueError: If `num_inference_steps` is below 1, or too few for the boundaries.
    """
    steps, n = num_inference_steps, len(boundaries)
    if steps < 1:
        raise ValueError(f"the number of sampling steps must be at least 1, not {steps}")
    if steps <= n:
        raise ValueError(
            f"{steps} sampling steps cannot be aligned with the {n} boundaries of experts: at least {n + 1} can"
        )
    times = torch.nextafter(
        torch.tensor(list(boundaries), dtype=torch.float32), torch.tensor(0.0)
    ).double()
    ends = [0.0, *unshift_timesteps(times, shift).tolist(), 1.0]
    places = [0, *(round(steps * u) for u in ends[1:-1]), steps]
    for i in range(1, n + 1):
        places[i] = max(places[i], places[i - 1] + 1)
    for i in range(n, 0, -1):
        places[i] = min(places[i], places[i + 1] - 1)
    spans = [
        torch.linspace(ends[i], ends[i + 1], places[i + 1] - places[i] + 1, dtype=torch.float64)
        for i in range(n + 1)
    ]
    grid = shift_timesteps(torch.cat([spans[0], *(span[1:] for span in spans[1:])]), shift)
    grid[places[1:-1]] = times  # exactly, whatever shifting forth and back does to the last digit
    return grid.flip(0)
