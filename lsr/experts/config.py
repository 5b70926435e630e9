"""Configuration of stage 2: boundaries, depths and seed of the experts."""

from dataclasses import dataclass
from typing import Literal

from lsr.flow.snr import PUBLISHED, T_RANGE, expert_boundaries, uniform_boundaries
from lsr.models.denoiser import DenoiserConfig
from lsr.models.mixture import ExpertMixture


@dataclass(frozen=True)
class ExpertsConfig:
    """Stage 2: a mixture of experts that grows from the knee of stage 1.

    Attributes:
        seed: Folder of the knee; every expert starts as a copy of its weights. The knee of stage 2
            has experts, and each goes on as what it is. A run that is resumed or evaluated does not
            read it.
        boundaries: Flow times in (0, 1) that separate the experts: "published" (the four experts of
            LinearSR), "uniform", "bisected" (`lsr.flow.snr.expert_boundaries`), or a list of
            increasing times.
        n: Number of experts; None means four, or one more than a list has times.
        t_range: Range of flow times that "bisected" divides.
        depths: Number of blocks of each expert, which takes the first blocks of the knee; None
            keeps all blocks.
        expert: Index of the only expert to train, from 0; the others keep the weights of the knee.
            None trains all experts in one run. `lsr merge-experts` joins runs of single experts.
        allow_unverified_seed: Accept any model file as the seed, with a warning.
    """

    seed: str
    boundaries: Literal["published", "uniform", "bisected"] | list[float] = "published"
    n: int | None = None
    t_range: tuple[float, float] = T_RANGE
    depths: list[int] | None = None
    expert: int | None = None
    allow_unverified_seed: bool = False

    def times(self) -> tuple[float, ...]:
        """Return the boundaries as flow times, one less than there are experts.

        Raises:
            ValueError: If they do not increase, are not between 0 and 1, or do not match `n`.
        """
        n = 4 if self.n is None else self.n
        if n < 1:
            raise ValueError(f"experts.n must be at least 1, not {n}")
        if self.boundaries == "uniform":
            times = uniform_boundaries(n)
        elif self.boundaries == "bisected":
            times = expert_boundaries(n, t_range=self.t_range)
        else:
            times = PUBLISHED if self.boundaries == "published" else tuple(self.boundaries)
            if self.n not in (None, len(times) + 1):
                raise ValueError(
                    f"experts.boundaries {', '.join(map(str, times))} are for {len(times) + 1} "
                    f"experts, but experts.n is {self.n}: change one of the two"
                )
        if list(times) != sorted({t for t in times if 0 < t < 1}):
            raise ValueError(
                "experts.boundaries must be increasing times between 0 and 1, "
                f"not {self.boundaries}"
            )
        return times

    def build(self, config: DenoiserConfig) -> ExpertMixture:
        """Return the experts before they get the weights of the knee.

        If one expert is trained alone, the parameters of the others are frozen.

        Args:
            config: Configuration of the knee.

        Raises:
            ValueError: If the boundaries are wrong, or depths or `expert` do not match them.
        """
        times = self.times()
        n = len(times) + 1
        if self.depths is not None and (
            len(self.depths) != n or not all(1 <= depth <= config.depth for depth in self.depths)
        ):
            raise ValueError(
                f"experts.depths must be {n} numbers from 1 to {config.depth} (the depth of the "
                f"knee), not {self.depths}"
            )
        if self.expert is not None and not 0 <= self.expert < n:
            raise ValueError(f"experts.expert must be from 0 to {n - 1}, not {self.expert}")
        mixture = ExpertMixture(config, times, self.depths)
        if self.expert is not None:
            for i in range(n):
                mixture.expert(i).requires_grad_(i == self.expert)
        return mixture
