"""What stage 2 is asked for: boundaries, depths and seed of the experts."""

from dataclasses import dataclass
from typing import Literal

from lsr.flow.snr import PUBLISHED, T_RANGE, expert_boundaries, uniform_boundaries
from lsr.models.denoiser import DenoiserConfig
from lsr.models.mixture import ExpertMixture


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
                raise ValueError(
                    f"the boundaries {', '.join(map(str, times))} are those of {len(times) + 1} experts, not {self.n}"
                )
        if list(times) != sorted({t for t in times if 0 < t < 1}):
            raise ValueError(
                f"the boundaries of experts must be increasing times between 0 and 1, not {self.boundaries}"
            )
        return times

    def build(self, config: DenoiserConfig) -> ExpertMixture:
        """Return the experts, not yet grown; if one is to be trained alone, the others are frozen.

        Args:
            config: Of the knee.

        Raises:
            ValueError: If boundaries, depths or `expert` are none of this knee's experts.
        """
        times = self.times()
        n = len(times) + 1
        if self.depths is not None and (
            len(self.depths) != n or not all(1 <= depth <= config.depth for depth in self.depths)
        ):
            raise ValueError(
                f"experts.depths must be {n} numbers from 1 to {config.depth}, the knee's, not {self.depths}"
            )
        if self.expert is not None and not 0 <= self.expert < n:
            raise ValueError(f"experts.expert must be from 0 to {n - 1}, not {self.expert}")
        mixture = ExpertMixture(config, times, self.depths)
        if self.expert is not None:
            for i in range(n):
                mixture.expert(i).requires_grad_(i == self.expert)
        return mixture
