"""Configuration of stage 3: the terms of the student's loss and their weights."""

from dataclasses import dataclass
from typing import Literal

from lsr.flow.training_times import TrainingTimes


@dataclass(frozen=True)
class LADDConfig:
    """Discriminator on the features of a frozen denoiser, see `lsr.student.ladd`.

    Attributes:
        weight: Weight of its adversarial loss.
        features: The frozen denoiser: a knee folder, or a model file of a single denoiser. None
            takes `model.init_from`, the start of the student.
        blocks: Numbers of the transformer blocks whose features are judged, from 0; None judges
            those of all blocks.
        channels: Channels of each head.
        r1_weight: Weight of the gradient penalty R1 on the inputs of the heads.
        times: Density of the flow times to which images are renoised. Near 0 the heads judge
            texture, near 1 structure.

    Raises:
        ValueError: If a number is out of range.
    """

    weight: float = 0.1
    features: str | None = None
    blocks: tuple[int, ...] | None = None
    channels: int = 64
    r1_weight: float = 1e-3
    times: TrainingTimes = TrainingTimes(shift=1.0)

    def __post_init__(self) -> None:
        _check("ladd", self.weight, self.channels)
        if self.r1_weight < 0:
            raise ValueError(f"student.ladd.r1_weight must be at least 0, not {self.r1_weight}")


@dataclass(frozen=True)
class UNetConfig:
    """Discriminator on pixels, see `lsr.nn.discriminators.UNetDiscriminator`.

    Attributes:
        weight: Weight of its adversarial loss.
        channels: Channels at full size.
        feature_weight: Weight of feature matching (pix2pixHD, arXiv 1711.11585): the absolute error
            of the discriminator's features of the image to those of the teacher's result.

    Raises:
        ValueError: If a number is out of range.
    """

    weight: float = 0.1
    channels: int = 64
    feature_weight: float = 0.0

    def __post_init__(self) -> None:
        _check("unet", self.weight, self.channels)
        if self.feature_weight < 0:
            raise ValueError(
                f"student.unet.feature_weight must be at least 0, not {self.feature_weight}"
            )


def _check(name: str, weight: float, channels: int) -> None:
    if weight <= 0 or channels < 1:
        raise ValueError(
            f"student.{name} needs a weight above 0 and at least 1 channel, not {weight} and "
            f"{channels}; student.{name}: null leaves this discriminator out"
        )


@dataclass(frozen=True)
class StudentConfig:
    """Stage 3: the loss of the one-step student, a weighted sum of terms.

    Attributes:
        l1_weight: Weight of the absolute error in the flow's data space.
        pixel_l1_weight: Weight of the absolute error of the image in [-1, 1]. Without an
            autoencoder it is the error of `l1_weight` times `residual_std`.
        teacher_l1_weight: Weight of the absolute error to the teacher's result, in the flow's data
            space.
        gradient_l1_weight: Weight of the absolute error of the differences of neighbouring pixels,
            to the teacher's result in [-1, 1].
        low_pass_l1_weight: Weight of the absolute error of the means of `scale` x `scale` pixels,
            to the photograph in [-1, 1]: colours and large structure stay those of the photograph.
        teacher_steps: Number of sampling steps in which the model of `model.init_from` makes the
            teacher's results, from the noise of the student; 0 takes them from the data.
        lpips_weight: Weight of LPIPS to the photograph. None is 1 where its weights are on this
            machine or can be downloaded, else 0.
        dists_weight: Weight of DISTS to the photograph.
        real: What the discriminators see as real: the photographs, the teacher's results, or both:
            the photographs of the first half of each batch, the results of the second.
        noise: Whether the student starts from noise. Without it the weights that read the noise
            are 0, so that the seed of sampling changes nothing. This needs the prediction
            "preconditioned".
        ladd: Discriminator on features of a frozen denoiser, or None.
        unet: Discriminator on pixels, or None.
        gan_start: Optimiser step at which the discriminators and the adversarial terms begin.
        gradient_clip_val: Largest norm of the gradients of the student, and of those of the
            discriminators; 0 keeps all gradients. `trainer.gradient_clip_val` must be unset.
        win_validations: Number of validations in a row with discriminators that make no mistakes,
            after which a warning is printed.

    Raises:
        ValueError: If a number is out of range, or there is nothing to learn from.
    """

    l1_weight: float = 1.0
    pixel_l1_weight: float = 0.0
    teacher_l1_weight: float = 0.0
    gradient_l1_weight: float = 0.0
    low_pass_l1_weight: float = 0.0
    teacher_steps: int = 0
    lpips_weight: float | None = None
    dists_weight: float = 0.0
    real: Literal["hr", "teacher", "both"] = "hr"
    noise: bool = True
    ladd: LADDConfig | None = None
    unet: UNetConfig | None = None
    gan_start: int = 0
    gradient_clip_val: float = 1.0
    win_validations: int = 3

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in vars(self).items() if _is_number(value)}
        for name, value in numbers.items():
            if value < 0:
                raise ValueError(f"student.{name} must be at least 0, not {value}")
        if not any(value for name, value in numbers.items() if name.endswith("_weight")):
            raise ValueError("the student has no target: set student.l1_weight above 0")

    @property
    def is_adversarial(self) -> bool:
        """Whether there is a discriminator."""
        return self.ladd is not None or self.unet is not None

    @property
    def needs_teacher(self) -> bool:
        """Whether a term uses results of the teacher."""
        compared = self.teacher_l1_weight > 0 or self.gradient_l1_weight > 0
        matched = self.unet is not None and self.unet.feature_weight > 0
        return compared or matched or (self.is_adversarial and self.real != "hr")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
