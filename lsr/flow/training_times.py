"""Draw the flow times that a network is trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lsr.flow.timesteps import logit_normal_between, logit_normal_cdf, logit_normal_timesteps


@dataclass(frozen=True)
class TrainingTimes:
    """Density of the training times: a shifted logit-normal, mixed with times of exactly 1.

    Attributes:
        shift: Shift f of the times, see `lsr.flow.timesteps.shift_timesteps`.
        mean: Mean of the logit of the unshifted times.
        std: Standard deviation of the logit of the unshifted times.
        terminal_fraction: Fraction of the times that are exactly 1, in [0, 1]. Every sampler starts
            at t = 1, where the density of the logit-normal is 0.

    Raises:
        ValueError: If `terminal_fraction` is out of range.
    """

    shift: float = 3.0
    mean: float = 0.0
    std: float = 1.0
    terminal_fraction: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.terminal_fraction <= 1:
            raise ValueError(f"terminal_fraction must be from 0 to 1, not {self.terminal_fraction}")

    def draw(self, z: Tensor, choice: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Turn standard normal draws into times, whose density may be restricted to an interval.

        Args:
            z: Standard normal draws (B,) that choose the times of the logit-normal.
            choice: Standard normal draws (B,) that choose which times are exactly 1.
            low: Start of the interval, which belongs to it.
            high: End of the interval, which belongs to it only if it is 1.

        Returns:
            Times (B,) in [low, high), or in [low, 1] if `high` is 1.
        """
        density = self.mean, self.std, self.shift
        terminal = self.terminal_fraction if high == 1 else 0.0
        if (low, high) == (0, 1):
            t = logit_normal_timesteps(z, *density)
        else:
            t = logit_normal_between(z, low, high, *density)
            if terminal:
                # Probability of t = 1 given t >= low, where 1 - F(low) of the logit-normal remains.
                rest = (1 - terminal) * (1 - logit_normal_cdf(low, *density))
                terminal = terminal / (terminal + rest)
        # Phi(choice) is uniform in [0, 1].
        return torch.where(torch.special.ndtr(choice) < terminal, 1.0, t)
