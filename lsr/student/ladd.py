"""LADD: small heads judge the features that a frozen denoiser has of renoised images."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from lsr.flow.noise import seeded_normal
from lsr.flow.path import interpolate
from lsr.models.condition import Condition
from lsr.models.denoiser import Denoiser
from lsr.nn.discriminators import FeatureHead
from lsr.student.config import LADDConfig
from lsr.student.frozen import Frozen, block_features

# Uses of a sample's seed, see `seeded_normal`. The student's noise has number 1, contexts have 3.
_TIME, _NOISE = 0, 2


class Scene(NamedTuple):
    """What LADD uses for the real and for the generated images of a batch alike.

    Attributes:
        student: The student.
        condition: Its condition for the LR images.
        own: Condition of the frozen denoiser.
        t: Flow times (B,) to which images are renoised.
        noise: Noise of the frozen denoiser's flow (B, C, h, w).
    """

    student: Denoiser
    condition: Condition
    own: Condition
    t: Tensor
    noise: Tensor


class LADD(nn.Module):
    """Discriminator of latent adversarial diffusion distillation (arXiv 2403.12015).

    An image is renoised to a random flow time and shown to a frozen denoiser, here that of stage 1.
    For each chosen block a small head judges the features. This needs no weights of others, and
    works in latents and in pixels alike. SANA-Sprint (arXiv 2503.09641) is trained with it.

    Args:
        frozen: The frozen denoiser.
        config: Settings.

    Raises:
        ValueError: If the frozen model is a mixture, or has no block of a number that is named.
    """

    def __init__(self, frozen: Frozen, config: LADDConfig) -> None:
        super().__init__()
        if not isinstance(frozen.model, Denoiser):
            raise ValueError(
                f"{frozen.path} holds experts, but the features of a single denoiser are needed: "
                "give student.ladd.features the knee of stage 1"
            )
        depth = frozen.model.config.depth
        self.blocks = tuple(range(depth)) if config.blocks is None else tuple(config.blocks)
        if not self.blocks or not all(0 <= block < depth for block in self.blocks):
            raise ValueError(
                f"student.ladd.blocks must be numbers from 0 to {depth - 1}, the blocks of "
                f"{frozen.path}, not {list(self.blocks)}"
            )
        self.frozen = frozen
        self.times = config.times
        self.heads = nn.ModuleList(
            FeatureHead(frozen.model.config.width, config.channels) for _ in self.blocks
        )

    def scene(self, student: Denoiser, condition: Condition, seeds: Sequence[int]) -> Scene:
        """Draw times and noise for a batch.

        Real and generated images share them, so that only the images make a difference.

        Args:
            student: The student.
            condition: Its condition for the LR images.
            seeds: Seeds (B,) of the samples.
        """
        own = self.frozen.condition(condition)
        device = condition.lr.device
        z, choice = seeded_normal(seeds, (2,), _TIME, device).unbind(1)
        noise = seeded_normal(seeds, tuple(own.base.shape[1:]), _NOISE, device)
        return Scene(student, condition, own, self.times.draw(z, choice), noise)

    def features(self, x_0: Tensor, scene: Scene) -> list[Tensor]:
        """Return the features (B, D, h, w) of each block for data x_0 of the student's flow."""
        own = self.frozen.data(x_0, scene.student, scene.condition, scene.own)
        x_t = interpolate(own, scene.noise, scene.t)
        assert isinstance(self.frozen.model, Denoiser)
        return block_features(self.frozen.model, x_t, scene.t, scene.own, self.blocks)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the logits (B, 1, h, w) of each head: above 0 is real."""
        return [head(each) for head, each in zip(self.heads, features, strict=True)]
