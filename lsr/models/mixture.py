"""Combine denoisers into a mixture of experts: each flow time belongs to exactly one of them.

A sampling step therefore costs as much as a step of a single denoiser.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lsr.models.condition import Condition
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.models.latent_space import LatentSpace


class ExpertMixture(nn.Module):
    """Mixture of experts that is used like one `Denoiser` and routes by the flow time alone.

    Every expert is a complete denoiser. Expert i computes the velocity at the times

        boundaries[i - 1] <= t < boundaries[i],

    so a boundary belongs to the expert of the noisier side, t = 0 to the first expert and t = 1 to
    the last. Times and boundaries are compared in float32, the type of the times in samplers and in
    training.

    Args:
        config: Configuration of every expert.
        boundaries: Increasing times between 0 and 1, one fewer than there are experts.
        depths: Number of blocks of each expert; None takes `config.depth` for all.

    Attributes:
        config: Configuration of every expert, apart from `depths`.
        boundaries: Times at which one expert ends and the next one begins.
        depths: Number of blocks of each expert, or None.
        one_step: See `Denoiser`; False unless a file says otherwise.
        experts: The denoisers, from the least noisy times to the noisiest.
    """

    def __init__(
        self,
        config: DenoiserConfig,
        boundaries: Sequence[float],
        depths: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.one_step = False
        self.boundaries = tuple(boundaries)
        self._edges = torch.tensor(self.boundaries, dtype=torch.float32, device="cpu")
        self.depths = None if depths is None else tuple(depths)
        n = len(self.boundaries) + 1
        self.experts = nn.ModuleList(
            Denoiser(replace(config, depth=depth)) for depth in self.depths or n * (config.depth,)
        )
        assert len(self.experts) == n
        for i in range(1, n):
            self.expert(i).space = self.space  # so that an autoencoder is loaded once

    def expert(self, index: int) -> Denoiser:
        """Return the expert of an index; 0 is the one of the least noisy times."""
        expert = self.experts[index]
        assert isinstance(expert, Denoiser)
        return expert

    @property
    def denoisers(self) -> list[Denoiser]:
        """The experts, from the least noisy times to the noisiest; see `Denoiser.denoisers`."""
        return [self.expert(index) for index in range(len(self.experts))]

    @property
    def shares(self) -> dict[str, Any]:
        """Entries of a model file that describe the experts, see `Denoiser.shares`.

        They are `boundaries`, and `depths` if the experts have depths of their own.
        """
        shares: dict[str, Any] = {"boundaries": list(self.boundaries)}
        if self.depths is not None:
            shares["depths"] = list(self.depths)
        return shares

    def interval(self, index: int) -> tuple[float, float]:
        """Return the times at which the interval of an expert begins and ends."""
        edges = (0.0, *self.boundaries, 1.0)
        return edges[index], edges[index + 1]

    def route(self, t: Tensor) -> Tensor:
        """Return the index of the expert for each time, in the shape of `t`, on the CPU."""
        # `right=True` gives a boundary to the expert above it.
        return torch.bucketize(t.detach().cpu().float().contiguous(), self._edges, right=True)

    def denoiser_at(self, t: Tensor) -> Denoiser:
        """Return the one expert that all times (B,) of a batch must belong to."""
        found = self.route(t).unique()
        assert len(found) == 1, (
            f"all times of one batch must belong to one expert, not to experts {found.tolist()}"
        )
        return self.expert(int(found))

    @property
    def space(self) -> LatentSpace:
        """The latent space of all experts."""
        return self.expert(0).space

    @property
    def lr_multiple(self) -> int:
        """Number that LR sides must be multiples of, see `Denoiser.lr_multiple`."""
        return self.expert(0).lr_multiple

    @property
    def margin(self) -> int:
        """LR pixels that a picture is extended by, see `Denoiser.margin`."""
        return self.expert(0).margin

    def condition(
        self, lr: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Condition:
        """Prepare an LR image and its context, see `Denoiser.condition`.

        Each expert computes its features of the image when it is first evaluated, and once.
        """
        return self.expert(0).condition(lr, context, mask)

    def encode(self, hr: Tensor, condition: Condition) -> Tensor:
        """Map HR images to the data x_0 of the flow, see `Denoiser.encode`."""
        return self.expert(0).encode(hr, condition)

    def decode(self, x_0: Tensor, condition: Condition) -> Tensor:
        """Map the data x_0 of the flow to images, see `Denoiser.decode`."""
        return self.expert(0).decode(x_0, condition)

    def latent(self, x_0: Tensor, condition: Condition) -> Tensor:
        """Return the latent for data x_0 of the flow, see `Denoiser.latent`."""
        return self.expert(0).latent(x_0, condition)

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the velocity, see `Denoiser.forward`; all times must belong to one expert."""
        return self.denoiser_at(t)(x_t, t, condition)

    def loss(
        self, x_0: Tensor, noise: Tensor, t: Tensor, condition: Condition, l1_weight: float = 0.0
    ) -> Tensor:
        """Return the training loss, see `Denoiser.loss`; all times must belong to one expert."""
        return self.denoiser_at(t).loss(x_0, noise, t, condition, l1_weight)


Model = Denoiser | ExpertMixture
"""A single denoiser or a mixture of experts.

Both have the same methods and the properties `denoisers`, `shares`, `space`, `lr_multiple` and
`margin`, so samplers, training and model files accept either. A function that accepts only a single
denoiser asks for a `Denoiser`.
"""


def picture_grid(denoiser: Model, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of latent positions for an LR picture with its margin.

    Args:
        denoiser: The model.
        height: Rows of LR pixels, without the margin.
        width: Columns of LR pixels, without the margin.
    """
    rows, columns = (
        -(-(side + 2 * denoiser.margin) // denoiser.lr_multiple) for side in (height, width)
    )
    return rows, columns
