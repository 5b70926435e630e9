"""Several denoisers that share the times among them: exactly one is evaluated at a time, so a step costs what one denoiser costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lsr.denoiser import Condition, Denoiser, DenoiserConfig
from lsr.encoders.latent import LatentSpace
from lsr.flow.snr import PUBLISHED, T_RANGE, expert_boundaries, uniform_boundaries


@dataclass(frozen=True)
class ExpertsConfig:
    """Stage 2: a mixture of experts that grows from the knee of stage 1.

    Attributes:
        seed: The folder of the knee; every expert starts as a copy of its weights. A run that is continued or evaluated does not
            look at it.
        boundaries: Times at which the experts meet: "published" (LinearSR's four experts), "uniform", "bisected"
            (`lsr.flow.snr.expert_boundaries`), or a list of increasing times.
        n: Number of experts: four if None and not told by a list.
        t_range: The times that "bisected" divides.
        depths: Blocks of each expert, at most those of the knee, of which it takes the first; None keeps all.
        expert: Train this expert alone, counted from 0, the others staying the knee; None trains all in one run. `lsr merge-experts`
            joins such runs.
        allow_unverified_seed: Let `seed` be any model file of a single denoiser, with a warning.
    """

    seed: str
    boundaries: Literal["published", "uniform", "bisected"] | list[float] = "published"
    n: int | None = None
    t_range: tuple[float, float] = T_RANGE
    depths: list[int] | None = None
    expert: int | None = None
    allow_unverified_seed: bool = False

    def times(self) -> tuple[float, ...]:
        """Return the boundaries as times.

        Raises:
            ValueError: If they are not increasing times between 0 and 1, or not for `n` experts.
        """
        n = 4 if self.n is None else self.n
        if n < 1:
            raise ValueError(f"the boundaries are those of at least one expert, not of {n}")
        if self.boundaries == "uniform":
            times = uniform_boundaries(n)
        elif self.boundaries == "bisected":
            times = expert_boundaries(n, t_range=self.t_range)
        else:
            times = PUBLISHED if self.boundaries == "published" else tuple(self.boundaries)
            if self.n not in (None, len(times) + 1):
                raise ValueError(f"the boundaries {', '.join(map(str, times))} are those of {len(times) + 1} experts, not {self.n}")
        if list(times) != sorted({t for t in times if 0 < t < 1}):
            raise ValueError(f"the boundaries of experts must be increasing times between 0 and 1, not {self.boundaries}")
        return times

    def build(self, config: DenoiserConfig) -> "ExpertMixture":
        """Return the experts, not yet grown; if one is to be trained alone, the others are frozen.

        Args:
            config: Of the knee.

        Raises:
            ValueError: If boundaries, depths or `expert` are none of this knee's experts.
        """
        times = self.times()
        n = len(times) + 1
        if self.depths is not None and (len(self.depths) != n or not all(1 <= depth <= config.depth for depth in self.depths)):
            raise ValueError(f"experts.depths must be {n} numbers from 1 to {config.depth}, the knee's, not {self.depths}")
        if self.expert is not None and not 0 <= self.expert < n:
            raise ValueError(f"experts.expert must be from 0 to {n - 1}, not {self.expert}")
        mixture = ExpertMixture(config, times, self.depths)
        if self.expert is not None:
            for i in range(n):
                mixture.expert(i).requires_grad_(i == self.expert)
        return mixture


class ExpertMixture(nn.Module):
    """Complete denoisers of one configuration, their depths apart, routed by time alone; to be used as one `Denoiser`.

    Expert i holds `boundaries[i - 1] <= t < boundaries[i]`: a boundary belongs to the expert of the noisier side, t = 0 to the first
    and t = 1 to the last. Times and boundaries are compared in single precision, in which samplers and training hand them over.

    Args:
        config: Of every expert.
        boundaries: Increasing times between 0 and 1, one less than there are experts.
        depths: Blocks of each expert, in place of those of `config`.
    """

    def __init__(self, config: DenoiserConfig, boundaries: Sequence[float], depths: Sequence[int] | None = None) -> None:
        super().__init__()
        self.config = config
        self.boundaries = tuple(boundaries)
        self._edges = torch.tensor(self.boundaries, dtype=torch.float32, device="cpu")
        self.depths = None if depths is None else tuple(depths)
        n = len(self.boundaries) + 1
        self.experts = nn.ModuleList(Denoiser(replace(config, depth=depth)) for depth in self.depths or n * (config.depth,))
        assert len(self.experts) == n
        for i in range(1, n):
            self.expert(i).space = self.space  # an autoencoder is loaded once

    def expert(self, index: int) -> Denoiser:
        """Return one of the experts."""
        expert = self.experts[index]
        assert isinstance(expert, Denoiser)
        return expert

    @property
    def shares(self) -> dict[str, Any]:
        """What a model file says of the experts: their boundaries, and their depths where these are not those of `config`."""
        return {"boundaries": list(self.boundaries)} | ({} if self.depths is None else {"depths": list(self.depths)})

    def interval(self, index: int) -> tuple[float, float]:
        """Return the times at which an expert's share begins and ends."""
        edges = (0.0, *self.boundaries, 1.0)
        return edges[index], edges[index + 1]

    def route(self, t: Tensor) -> Tensor:
        """Return the indices of the experts that hold the times, on the CPU, of the shape of `t`."""
        return torch.bucketize(t.detach().cpu().float().contiguous(), self._edges, right=True)

    def _expert_of(self, t: Tensor) -> Denoiser:
        found = self.route(t).unique()
        assert len(found) == 1, f"the times of one evaluation belong to experts {found.tolist()}"
        return self.expert(int(found))

    @property
    def space(self) -> LatentSpace:
        """The space that all experts work in."""
        return self.expert(0).space

    @property
    def lr_multiple(self) -> int:
        """See `Denoiser.lr_multiple`."""
        return self.expert(0).lr_multiple

    def condition(self, lr: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Condition:
        """See `Denoiser.condition`: an expert looks at the LR image when it is first called, once."""
        return self.expert(0).condition(lr, context, mask)

    def encode(self, hr: Tensor, condition: Condition) -> Tensor:
        """See `Denoiser.encode`."""
        return self.expert(0).encode(hr, condition)

    def decode(self, x_0: Tensor, condition: Condition) -> Tensor:
        """See `Denoiser.decode`."""
        return self.expert(0).decode(x_0, condition)

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See `Denoiser.forward`; all times must be of one expert."""
        return self._expert_of(t)(x_t, t, condition)

    def loss(self, x_0: Tensor, noise: Tensor, t: Tensor, condition: Condition, l1_weight: float = 0.0) -> Tensor:
        """See `Denoiser.loss`; all times must be of one expert."""
        return self._expert_of(t).loss(x_0, noise, t, condition, l1_weight)
