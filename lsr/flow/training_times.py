"""The flow times that a network is trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lsr.flow.timesteps import logit_normal_between, logit_normal_cdf, logit_normal_timesteps


@dataclass(frozen=True)
class TrainingTimes:
    """Density of the training times: a shifted logit-normal, and a share that is exactly 1.

    Attributes:
        shift: See `lsr.flow.timesteps.shift_timesteps`.
        mean: Location of the logit-normal.
        std: Its scale.
        terminal_fraction: Part of the times that are exactly 1, where every sampler starts and the logit-normal vanishes.

    Raises:
        ValueError: If `terminal_fraction` is out of range.
    """

    shift: float = 3.0
    mean: float = 0.0
    std: float = 1.0
    terminal_fraction: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.terminal_fraction <= 1:
            raise ValueError(f"terminal_fraction must be in [0, 1], not {self.terminal_fraction}")

    def draw(self, z: Tensor, choice: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Turn standard normal draws into times, of an interval with the density that they have there.

        Args:
            z: Standard normal draws (B,), for the logit-normal.
            choice: Standard normal draws (B,), for the share at 1.
            low: Where the interval begins; belongs to it.
            high: Where it ends; belongs to it if it is 1.

        Returns:
            Times (B,).
        """
        density = self.mean, self.std, self.shift
        if (low, high) == (0, 1):
            t, terminal = logit_normal_timesteps(z, *density), self.terminal_fraction
        else:
            t, terminal = logit_normal_between(z, low, high, *density), 0.0
            if (
                high == 1 and self.terminal_fraction
            ):  # its share of the probability beside that of the times below 1
                rest = (1 - self.terminal_fraction) * (1 - logit_normal_cdf(low, *density))
                terminal = self.terminal_fraction / (self.terminal_fraction + rest)
        return torch.where(torch.special.ndtr(choice) < terminal, 1.0, t)
