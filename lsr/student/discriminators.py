"""All discriminators of a student: their inputs and their losses."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.nn.discriminators import UNetDiscriminator
from lsr.student.adversarial import discriminator_loss, generator_loss, r1_penalty
from lsr.student.config import StudentConfig
from lsr.student.frozen import Frozen
from lsr.student.ladd import LADD, Scene
from lsr.student.pictures import Pictures


class Evidence(NamedTuple):
    """The inputs of the discriminators for some images.

    Attributes:
        features: Input (B, D, h, w) of each head of LADD; none without LADD.
        image: Images (B, 3, H, W), or None without the U-Net.
    """

    features: list[Tensor]
    image: Tensor | None

    def detached(self) -> "Evidence":
        """Return the same numbers without the graph that leads to the student."""
        features = [each.detach() for each in self.features]
        return Evidence(features, None if self.image is None else self.image.detach())


class Discriminators(nn.Module):
    """LADD and the U-Net discriminator, either or both.

    Args:
        config: Configuration of the student.
        frozen: Frozen denoiser of LADD; None without LADD.

    Raises:
        ValueError: See `LADD`.
    """

    def __init__(self, config: StudentConfig, frozen: Frozen | None) -> None:
        super().__init__()
        self.ladd = LADD(frozen, config.ladd) if config.ladd and frozen else None
        self.unet = UNetDiscriminator(config.unet.channels) if config.unet else None
        self._r1_weight = config.ladd.r1_weight if config.ladd else 0.0
        self._matches_features = config.unet is not None and config.unet.feature_weight > 0

    def see(self, pictures: Pictures, scene: Scene | None) -> Evidence:
        """Return the inputs of the discriminators for pictures.

        Args:
            pictures: The pictures; only the U-Net needs their images.
            scene: Result of `LADD.scene`; None without LADD.
        """
        features: list[Tensor] = []
        if self.ladd is not None and scene is not None:
            features = self.ladd.features(pictures.x_0, scene)
        return Evidence(features, None if self.unet is None else pictures.image)

    def losses(self, real: Evidence, fake: Evidence) -> dict[str, Tensor]:
        """Return the losses of the discriminators by name, scalars; their sum is minimised.

        They are the hinge loss of `ladd` and of `unet`, and `r1`, the weighted penalty.

        Args:
            real: The real images, detached.
            fake: The generated images, detached.
        """
        found = {}
        if self.ladd is not None:
            features = [each.requires_grad_() for each in real.features]
            logits = self.ladd(features)
            found["ladd"] = _mean(discriminator_loss, logits, self.ladd(fake.features))
            if self._r1_weight:
                found["r1"] = self._r1_weight * r1_penalty(logits, features)
        if self.unet is not None:
            found["unet"] = discriminator_loss(self.unet(real.image), self.unet(fake.image))
        return found

    def adversarial(self, fake: Evidence, teacher: Pictures | None) -> dict[str, Tensor]:
        """Return the adversarial losses of the student by name, scalars without their weights.

        Args:
            fake: The generated images.
            teacher: The teacher's results, whose features in the U-Net are to be matched if
                `feature_weight` is set.
        """
        found = {}
        if self.ladd is not None:
            found["ladd"] = _mean(generator_loss, self.ladd(fake.features))
        if self.unet is not None:
            assert fake.image is not None
            features = self.unet.features(fake.image)
            found["unet"] = generator_loss(self.unet.last(features[-1]))
            if self._matches_features:
                assert teacher is not None and teacher.image is not None
                with torch.no_grad():
                    wanted = self.unet.features(teacher.image)
                found["features"] = _mean(F.l1_loss, features, wanted)
        return found


def _mean(loss: Callable[..., Tensor], *maps: list[Tensor]) -> Tensor:
    """Return the mean of a loss over the maps of all heads, or of all layers."""
    return torch.stack([loss(*of_one) for of_one in zip(*maps, strict=True)]).mean()
