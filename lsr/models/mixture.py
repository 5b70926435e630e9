"""Several denoisers that share the times among them: exactly one is evaluated at a time, so a step costs what one denoiser costs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lsr.models.denoiser import Condition, Denoiser, DenoiserConfig
from lsr.models.latent_space import LatentSpace


class ExpertMixture(nn.Module):
    """Complete denoisers of one configuration, their depths apart, routed by time alone; to be used as one `Denoiser`.

    Expert i holds `boundaries[i - 1] <= t < boundaries[i]`: a boundary belongs to the expert of the noisier side, t = 0 to the first
    and t = 1 to the last. Times and boundaries are compared in single precision, in which samplers and training hand them over.

    Args:
        config: Of every expert.
        boundaries: Increasing times between 0 and 1, one less than there are experts.
        depths: Blocks of each expert, in place of those of `config`.
    """

    def __init__(
        self,
        config: DenoiserConfig,
        boundaries: Sequence[float],
        depths: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.boundaries = tuple(boundaries)
        self._edges = torch.tensor(self.boundaries, dtype=torch.float32, device="cpu")
        self.depths = None if depths is None else tuple(depths)
        n = len(self.boundaries) + 1
        self.experts = nn.ModuleList(
            Denoiser(replace(config, depth=depth)) for depth in self.depths or n * (config.depth,)
        )
        assert len(self.experts) == n
        for i in range(1, n):
            self.expert(i).space = self.space  # an autoencoder is loaded once

    def expert(self, index: int) -> Denoiser:
        """Return one of the experts."""
        expert = self.experts[index]
        assert isinstance(expert, Denoiser)
        return expert

    @property
    def denoisers(self) -> list[Denoiser]:
        """All denoisers of the model: the experts, from the least to the noisiest times."""
        return [self.expert(index) for index in range(len(self.experts))]

    @property
    def shares(self) -> dict[str, Any]:
        """What a model file says of the experts: their boundaries, and their depths where these are not those of `config`."""
        return {"boundaries": list(self.boundaries)} | (
            {} if self.depths is None else {"depths": list(self.depths)}
        )

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

    def condition(
        self, lr: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Condition:
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

    def loss(
        self, x_0: Tensor, noise: Tensor, t: Tensor, condition: Condition, l1_weight: float = 0.0
    ) -> Tensor:
        """See `Denoiser.loss`; all times must be of one expert."""
        return self._expert_of(t).loss(x_0, noise, t, condition, l1_weight)


Model = Denoiser | ExpertMixture
"""Any velocity field that samplers and training can use."""
