"""The loss of the student: its terms, and what they compare."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.models.condition import Condition
from lsr.models.denoiser import Denoiser
from lsr.student.config import StudentConfig
from lsr.student.perceptual import Perceptual
from lsr.student.pictures import Pictures


def one_step(student: Denoiser, noise: Tensor, condition: Condition) -> Tensor:
    """Return the data x_0 (B, C, h, w) that the student makes of noise in one step.

    It is `x_0 = x_1 - v`: an Euler step from t = 1 to t = 0.

    Args:
        student: The student.
        noise: Its start x_1, normal noise (B, C, h, w).
        condition: Condition of the LR images.
    """
    return noise - student(noise, noise.new_ones(len(noise)), condition)


def ignore_noise(student: Denoiser) -> None:
    """Set the weights to 0 that read the state of the flow, which is noise in a single step."""
    with torch.no_grad():
        student.net.embed.weight[:, : student.space.channels] = 0


def gradient_l1(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of vertical plus that of horizontal pixel differences."""
    error = image - target
    return error.diff(dim=-2).abs().mean() + error.diff(dim=-1).abs().mean()


def low_pass_l1(image: Tensor, target: Tensor, size: int) -> Tensor:
    """Return the mean absolute error of the means of `size` x `size` pixels."""
    return F.avg_pool2d(image - target, size).abs().mean()


class StudentLoss:
    """The weighted sum of all terms.

    Args:
        config: Configuration of the student.
        perceptual: LPIPS and DISTS.
        scale: HR pixels per LR pixel along each axis.

    Attributes:
        weights: Weight of every term, by its name.
    """

    def __init__(self, config: StudentConfig, perceptual: Perceptual, scale: int) -> None:
        self._perceptual = perceptual
        self._scale = scale
        self.weights = {
            "l1": config.l1_weight,
            "pixel_l1": config.pixel_l1_weight,
            "teacher_l1": config.teacher_l1_weight,
            "gradient_l1": config.gradient_l1_weight,
            "low_pass_l1": config.low_pass_l1_weight,
            **perceptual.weights,
            "ladd": config.ladd.weight if config.ladd else 0.0,
            "unet": config.unet.weight if config.unet else 0.0,
            "features": config.unet.feature_weight if config.unet else 0.0,
        }

    @property
    def needs_image(self) -> bool:
        """Whether a term looks at the image: latents then have to be decoded."""
        in_latents = ("l1", "teacher_l1", "ladd")
        return any(weight for name, weight in self.weights.items() if name not in in_latents)

    def errors(self, made: Pictures, hr: Pictures, teacher: Pictures | None) -> dict[str, Tensor]:
        """Return the terms that compare with a target, by name, scalars without their weights.

        Args:
            made: Pictures that the student has made. They and those that they are compared with
                need images if `needs_image`.
            hr: The photographs.
            teacher: The teacher's results; None if no term needs them.
        """
        found = {}
        if self.weights["l1"]:
            found["l1"] = (made.x_0 - hr.x_0).abs().mean()
        if self.weights["teacher_l1"]:
            assert teacher is not None
            found["teacher_l1"] = (made.x_0 - teacher.x_0).abs().mean()
        if made.image is not None:
            assert hr.image is not None
            found |= self._image_errors(made.image, hr.image)
        if self.weights["gradient_l1"]:
            assert made.image is not None and teacher is not None and teacher.image is not None
            found["gradient_l1"] = gradient_l1(made.image, teacher.image)
        return found

    def _image_errors(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """Return the terms that compare images (B, 3, H, W) with the photographs."""
        found = {}
        if self.weights["pixel_l1"]:
            found["pixel_l1"] = (sr - hr).abs().mean()
        if self.weights["low_pass_l1"]:
            found["low_pass_l1"] = low_pass_l1(sr, hr, self._scale)
        return found | self._perceptual(sr, hr)

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of terms, a scalar."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
