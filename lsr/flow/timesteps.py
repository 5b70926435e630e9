"""Draw the flow times of training and lay out the grid of times of a sampler.

`lsr.flow.path` defines t: 0 is data, 1 is noise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def shift_timesteps(u: Tensor, shift: float) -> Tensor:
    """Move times towards noise: `t = f u / (1 + (f - 1) u)` (SD3, arXiv 2403.03206, section 5.3.2).

    A large image has more pixels that show the same content, so it takes more noise to hide it. On
    the logit axis the shift adds ln f. Training and sampling both use this function, so the sampler
    visits the times that the network was trained on.

    Args:
        u: Times of any shape in [0, 1].
        shift: Shift f > 0; 1 leaves the times unchanged, 3 is the value of SANA.

    Returns:
        Times in [0, 1] of the same shape; 0 stays 0 and 1 stays 1.
    """
    return shift * u / (1 + (shift - 1) * u)


def logit_normal_timesteps(
    z: Tensor, mean: float = 0.0, std: float = 1.0, shift: float = 3.0
) -> Tensor:
    """Turn standard normal draws z into times `shift_timesteps(sigmoid(mean + std z))`.

    This is the logit-normal density of SD3 (arXiv 2403.03206, equation 19), shifted.

    Args:
        z: Standard normal draws (B,).
        mean: Mean of the logit of the unshifted times.
        std: Standard deviation of the logit of the unshifted times.
        shift: Shift f, see `shift_timesteps`.

    Returns:
        Times (B,) in (0, 1).
    """
    return shift_timesteps(torch.sigmoid(mean + std * z), shift)


def unshift_timesteps(t: Tensor, shift: float) -> Tensor:
    """Return the times u that `shift_timesteps` moves to `t`: the inverse function."""
    return t / (shift - (shift - 1) * t)


def logit_normal_cdf(t: float, mean: float = 0.0, std: float = 1.0, shift: float = 3.0) -> float:
    """Return the distribution function F(t): the probability of a time below t in [0, 1].

    The other arguments are those of `logit_normal_timesteps`, whose times it describes.
    """
    u = unshift_timesteps(torch.tensor(t, dtype=torch.float64), shift)
    return torch.special.ndtr((torch.logit(u) - mean) / std).item()


def logit_normal_between(
    z: Tensor, low: float, high: float, mean: float = 0.0, std: float = 1.0, shift: float = 3.0
) -> Tensor:
    """Turn standard normal draws into times of an interval [low, high).

    The density of the times is that of `logit_normal_timesteps`, restricted to the interval, by
    inversion of the distribution function: Phi(z), with Phi the standard normal distribution
    function, is uniform in [0, 1]; it is stretched to [F(low), F(high)], with F of
    `logit_normal_cdf`, and F^-1 gives the time. No draw is rejected, so every z gives exactly one
    time.

    Args:
        z: Standard normal draws (B,).
        low: Start of the interval, which belongs to it.
        high: End of the interval, which does not belong to it.
        mean: Mean of the logit of the unshifted times.
        std: Standard deviation of the logit of the unshifted times.
        shift: Shift f, see `shift_timesteps`.

    Returns:
        Times (B,), float32, in the interval after rounding to float32 too.
    """
    lower = logit_normal_cdf(low, mean, std, shift)
    upper = logit_normal_cdf(high, mean, std, shift)
    # On the CPU, because some devices (Apple's MPS) have no double precision.
    u = lower + (upper - lower) * torch.special.ndtr(z.cpu().double())
    # F^-1(u) is the time of the standard normal draw Phi^-1(u).
    t = logit_normal_timesteps(torch.special.ndtri(u), mean, std, shift).float()
    below = torch.nextafter(torch.tensor(high), torch.tensor(0.0))
    return t.clamp(torch.tensor(low), below).to(z.device)


def timestep_grid(
    num_inference_steps: int, shift: float = 3.0, boundaries: Sequence[float] = ()
) -> Tensor:
    """Return the times that a sampler visits, from 1 (noise) down to 0 (data).

    Without `boundaries` the times are evenly spaced before the shift. With `boundaries` no step
    crosses one: the time nearest to a boundary moves to it, and the times between two boundaries
    are evenly spaced again. It moves to the largest float32 number below the boundary, so that the
    step that begins there lies in the interval below the boundary with both its ends.

    Args:
        num_inference_steps: Number of steps S.
        shift: Shift f, see `shift_timesteps`.
        boundaries: Increasing times between 0 and 1 that no step may cross, fewer than S.

    Returns:
        Decreasing times (S + 1,), float64.

    Raises:
        ValueError: If `num_inference_steps` is below 1 or not above the number of boundaries.
    """
    steps = num_inference_steps
    n = len(boundaries)
    if steps < 1:
        raise ValueError(f"num_inference_steps must be at least 1, not {steps}")
    if steps <= n:
        raise ValueError(
            f"{steps} sampling steps are too few: with align_steps each of the {n + 1} experts "
            f"needs one; set num_inference_steps to at least {n + 1}, or align_steps to false"
        )
    times = torch.nextafter(
        torch.tensor(list(boundaries), dtype=torch.float32), torch.tensor(0.0)
    ).double()
    # The grid is built before the shift and upwards. Interval i runs from ends[i], which is the
    # time number places[i] of the grid, to ends[i + 1].
    ends = [0.0, *unshift_timesteps(times, shift).tolist(), 1.0]
    places = [0, *(round(steps * u) for u in ends[1:-1]), steps]
    # Every interval needs at least one step: push places up from the left, then down from the
    # right.
    for i in range(1, n + 1):
        places[i] = max(places[i], places[i - 1] + 1)
    for i in range(n, 0, -1):
        places[i] = min(places[i], places[i + 1] - 1)
    spans = [
        torch.linspace(ends[i], ends[i + 1], places[i + 1] - places[i] + 1, dtype=torch.float64)
        for i in range(n + 1)
    ]
    grid = shift_timesteps(torch.cat([spans[0], *(span[1:] for span in spans[1:])]), shift)
    grid[places[1:-1]] = times  # exact: shifting back and forth may have changed the last digit
    return grid.flip(0)
