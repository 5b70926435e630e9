"""Flow times: their density in training and their grid in sampling."""

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


def logit_normal_timesteps(z: Tensor, mean: float = 0.0, std: float = 1.0, shift: float = 3.0) -> Tensor:
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


def logit_normal_between(z: Tensor, low: float, high: float, mean: float = 0.0, std: float = 1.0, shift: float = 3.0) -> Tensor:
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
    u = lower + (upper - lower) * torch.special.ndtr(z.cpu().double())  # not every device has double precision
    t = logit_normal_timesteps(torch.special.ndtri(u), mean, std, shift).float()
    below = torch.nextafter(torch.tensor(high), torch.tensor(0.0))
    return t.clamp(torch.tensor(low), below).to(z.device)


def timestep_grid(num_inference_steps: int, shift: float = 3.0) -> Tensor:
    """Return the `num_inference_steps + 1` times that a sampler visits, from 1 (noise) down to 0 (data), float64.

    Raises:
        ValueError: If `num_inference_steps` is below 1.
    """
    if num_inference_steps < 1:
        raise ValueError(f"the number of sampling steps must be at least 1, not {num_inference_steps}")
    return shift_timesteps(torch.linspace(1, 0, num_inference_steps + 1, dtype=torch.float64), shift)
