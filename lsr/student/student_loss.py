"""The loss of the student: its terms, and what they compare."""

from typing import NamedTuple

import torch
from torch import Tensor

from lsr.models.condition import Condition
from lsr.models.denoiser import Denoiser
from lsr.student.config import StudentConfig
from lsr.student.perceptual import Perceptual


def one_step(student: Denoiser, noise: Tensor, condition: Condition) -> Tensor:
    """Return the data x_0 (B, C, h, w) that the student makes of noise in one step.

    It is `x_0 = x_1 - v`: an Euler step from t = 1 to t = 0.

    Args:
        student: The student.
        noise: Its start x_1, normal noise (B, C, h, w).
        condition: Condition of the LR images.
    """
    return noise - student(noise, noise.new_ones(len(noise)), condition)


class Targets(NamedTuple):
    """What the results of a batch are compared with.

    Attributes:
        x_0: Data (B, C, h, w) of the photographs.
        teacher: Data of the teacher's results, or None.
        hr: The photographs (B, 3, H, W) in [-1, 1]; None if the batch has latents alone.
    """

    x_0: Tensor
    teacher: Tensor | None
    hr: Tensor | None


class StudentLoss:
    """The weighted sum of all terms.

    Args:
        config: Configuration of the student.
        perceptual: LPIPS and DISTS.

    Attributes:
        weights: Weight of every term, by its name.
    """

    def __init__(self, config: StudentConfig, perceptual: Perceptual) -> None:
        self._perceptual = perceptual
        self.weights = {
            "l1": config.l1_weight,
            "pixel_l1": config.pixel_l1_weight,
            "teacher_l1": config.teacher_l1_weight,
            **perceptual.weights,
            "ladd": config.ladd.weight if config.ladd else 0.0,
            "unet": config.unet.weight if config.unet else 0.0,
        }

    @property
    def needs_image(self) -> bool:
        """Whether a term looks at the image: latents then have to be decoded."""
        looking = ("pixel_l1", "unet", *self._perceptual.weights)
        return any(self.weights[name] for name in looking)

    def errors(self, made: Tensor, sr: Tensor | None, targets: Targets) -> dict[str, Tensor]:
        """Return the terms that compare with a target, by name, scalars without their weights.

        Args:
            made: Data that the student has made.
            sr: The same as images (B, 3, H, W), not clipped; None if no term needs them.
            targets: What they are compared with.
        """
        found = {}
        if self.weights["l1"]:
            found["l1"] = (made - targets.x_0).abs().mean()
        if self.weights["teacher_l1"]:
            assert targets.teacher is not None
            found["teacher_l1"] = (made - targets.teacher).abs().mean()
        if self.weights["pixel_l1"]:
            assert sr is not None and targets.hr is not None
            found["pixel_l1"] = (sr - targets.hr).abs().mean()
        if self._perceptual.weights:
            assert sr is not None and targets.hr is not None
            found |= self._perceptual(sr, targets.hr)
        return found

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of terms, a scalar."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
