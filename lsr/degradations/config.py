"""The configuration of a degradation: all probabilities and all ranges that samples draw from."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from lsr.degradations.presets import PRESETS

KERNEL_FAMILIES = (
    "iso",
    "aniso",
    "generalized_iso",
    "generalized_aniso",
    "plateau_iso",
    "plateau_aniso",
)
RESIZE_MODES = ("area", "bilinear", "bicubic")
JPEG_MODES = ("true", "compat", "libjpeg")
MAX_KERNEL_SIZE = 21

Range = tuple[float, float]

_SIZES = ("kernel_sizes_1", "kernel_sizes_2", "kernel_sizes_final")

_RANGE_LIMITS = {
    "sigma_1": (1e-2, 100.0),
    "sigma_2": (1e-2, 100.0),
    "beta_generalized": (1e-2, 100.0),
    "beta_plateau": (1e-2, 100.0),
    "resize_1_range": (1e-2, 8.0),
    "resize_2_range": (1e-2, 8.0),
    "gaussian_1": (0.0, 255.0),
    "gaussian_2": (0.0, 255.0),
    "poisson_1": (0.0, 100.0),
    "poisson_2": (0.0, 100.0),
    "jpeg_quality_1": (1.0, 100.0),
    "jpeg_quality_2": (1.0, 100.0),
}

_WEIGHTS = {
    "kernel_probabilities": len(KERNEL_FAMILIES),
    "resize_1_probabilities": 3,
    "resize_2_probabilities": 3,
}


@dataclass(frozen=True)
class DegradationConfig:
    """Distribution of a two-stage degradation of photographs.

    Structure and default values are those of Real-ESRGAN (Wang et al., 2021, arXiv 2107.10833) and
    its published training options; the known defects of its operators are corrected.

    A value `(low, high)` is a range from which a number is drawn uniformly. The suffixes `_1` and
    `_2` name the first and the second stage. All probabilities lie in [0, 1].

    Attributes:
        scale: HR pixels per LR pixel along each axis, a whole number of at least 1.
        identity_probability: Probability that a sample is only reduced by antialiased bicubic
            interpolation, without any other degradation.
        usm_lr: Whether the LR image is made from the HR image sharpened by an unsharp mask.
        usm_target: Whether the training target is the sharpened HR image (see `pipeline.pair`).
        kernel_sizes_1: Smallest and largest side of the first blur kernel in pixels, odd, 3 to 21.
        kernel_sizes_2: Smallest and largest side of the second blur kernel in pixels, odd, 3 to 21.
        kernel_sizes_final: Smallest and largest side of the final sinc filter in pixels, odd, 3 to
            21.
        kernel_probabilities: Probability of each of `KERNEL_FAMILIES` for a blur kernel that is not
            a sinc kernel; they sum to 1.
        sinc_probability: Probability that a blur kernel is a sinc kernel, which causes ringing.
        sigma_1: Range of the standard deviations of the first blur in pixels, within 0.01 to 100.
        sigma_2: Range of the standard deviations of the second blur in pixels, within 0.01 to 100.
        beta_generalized: Range of the shape exponent of generalized Gaussian kernels, within 0.01
            to 100. Half of the kernels draw from (low, 1), the other half from (1, high).
        beta_plateau: Range of the shape exponent of plateau kernels, within 0.01 to 100. Half of
            the kernels draw from (low, 1), the other half from (1, high).
        resize_1_probabilities: Probabilities that the first resize enlarges, shrinks, or keeps the
            size; they sum to 1.
        resize_1_range: Range of the factor of the first resize, relative to the HR image, within
            0.01 to 8. It contains 1: shrinking draws from (low, 1), enlarging from (1, high).
        resize_2_probabilities: Probabilities that the second resize enlarges, shrinks, or keeps the
            size; they sum to 1.
        resize_2_range: Range of the factor of the second resize, relative to the LR image, within
            0.01 to 8. It contains 1: shrinking draws from (low, 1), enlarging from (1, high).
        gaussian_probability: Probability that the noise of a stage is Gaussian; otherwise it is
            Poisson noise.
        grey_probability: Probability that the noise of a stage is equal in the three channels.
        gaussian_1: Range of the standard deviation of the first Gaussian noise in 8-bit levels,
            within 0 to 255.
        gaussian_2: Range of the standard deviation of the second Gaussian noise in 8-bit levels,
            within 0 to 255.
        poisson_1: Range of the factor on the first Poisson noise, within 0 to 100.
        poisson_2: Range of the factor on the second Poisson noise, within 0 to 100.
        jpeg_quality_1: Range of the quality of the first JPEG compression, within 1 to 100.
        jpeg_quality_2: Range of the quality of the second JPEG compression, within 1 to 100.
        second_stage_probability: Probability that a sample has the second stage: blur, resize and
            noise.
        blur_2_probability: Probability that the second stage blurs.
        final_sinc_probability: Probability of the final sinc filter.
        jpeg: Implementation of JPEG. "true" follows libjpeg with tensor operations. "libjpeg" is
            libjpeg itself and works on the CPU only. "compat" is the approximation that most
            published networks were trained with: its luma table is transposed, and it pads with
            black.
        aligned: Whether every resize keeps the content at its place relative to the HR image. False
            maps positions in the first resize as the published pipeline does, which shifts the
            content by up to several pixels.
        antialias: Whether the random resizes are antialiased; the published pipeline does not
            antialias.
        quantise: Whether the LR image is rounded to 8-bit levels.

    Raises:
        ValueError: A value is outside of its range.
    """

    scale: int = 4
    identity_probability: float = 0.0
    usm_lr: bool = True
    usm_target: bool = True
    kernel_sizes_1: tuple[int, int] = (7, 21)
    kernel_sizes_2: tuple[int, int] = (7, 21)
    kernel_sizes_final: tuple[int, int] = (7, 21)
    kernel_probabilities: tuple[float, float, float, float, float, float] = (
        0.45,
        0.25,
        0.12,
        0.03,
        0.12,
        0.03,
    )
    sinc_probability: float = 0.1
    sigma_1: Range = (0.2, 3.0)
    sigma_2: Range = (0.2, 1.5)
    beta_generalized: Range = (0.5, 4.0)
    beta_plateau: Range = (1.0, 2.0)
    resize_1_probabilities: tuple[float, float, float] = (0.2, 0.7, 0.1)
    resize_1_range: Range = (0.15, 1.5)
    resize_2_probabilities: tuple[float, float, float] = (0.3, 0.4, 0.3)
    resize_2_range: Range = (0.3, 1.2)
    gaussian_probability: float = 0.5
    grey_probability: float = 0.4
    gaussian_1: Range = (1.0, 30.0)
    gaussian_2: Range = (1.0, 25.0)
    poisson_1: Range = (0.05, 3.0)
    poisson_2: Range = (0.05, 2.5)
    jpeg_quality_1: Range = (30.0, 95.0)
    jpeg_quality_2: Range = (30.0, 95.0)
    second_stage_probability: float = 1.0
    blur_2_probability: float = 0.8
    final_sinc_probability: float = 0.8
    jpeg: str = "true"
    aligned: bool = True
    antialias: bool = False
    quantise: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.scale, bool) or not isinstance(self.scale, int) or self.scale < 1:
            raise ValueError(f"scale must be a whole number of at least 1, got {self.scale!r}")
        self._check_ranges()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is bool and not isinstance(value, bool):
                raise ValueError(f"{field.name} must be true or false, got {value!r}")
            if field.name.endswith("_probability"):
                self._normalise_probability(field.name)
        for name, count in _WEIGHTS.items():
            self._normalise_weights(name, count)
        if self.jpeg not in JPEG_MODES:
            raise ValueError(f"jpeg must be one of {', '.join(JPEG_MODES)}, got {self.jpeg!r}")

    def _check_ranges(self) -> None:
        for name in _SIZES:
            self._normalise_range(name, 3, MAX_KERNEL_SIZE, whole=True)
            if any(size % 2 == 0 for size in getattr(self, name)):
                raise ValueError(f"{name} must be two odd numbers, got {getattr(self, name)}")
        for name, (low, high) in _RANGE_LIMITS.items():
            self._normalise_range(name, low, high)
        for name in ("resize_1_range", "resize_2_range"):
            low, high = getattr(self, name)
            if not low <= 1 <= high:
                raise ValueError(f"{name} must contain 1 (no resizing), got {(low, high)}")

    # The `_normalise_*` methods check a field and store it in one form, whatever JSON or YAML it
    # came from: 1 and 1.0, or a list and a tuple, are the same configuration with the same digest.

    def _normalise_range(self, name: str, low: float, high: float, whole: bool = False) -> None:
        given = getattr(self, name)
        kind = int if whole else float
        try:
            values = tuple(kind(value) for value in given)
            given = tuple(given)
        except (TypeError, ValueError, OverflowError):
            values = ()
        if len(values) != 2 or values != given or not low <= values[0] <= values[1] <= high:
            numbers = "whole numbers " if whole else ""
            raise ValueError(
                f"{name} must be {numbers}(low, high) within [{low:g}, {high:g}], got {given}"
            )
        object.__setattr__(self, name, values)

    def _normalise_probability(self, name: str) -> None:
        value = getattr(self, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")
        object.__setattr__(self, name, float(value))

    def _normalise_weights(self, name: str, count: int) -> None:
        given = getattr(self, name)
        try:
            weights = tuple(float(weight) for weight in given)
        except (TypeError, ValueError):
            weights = ()
        positive = len(weights) == count and all(weight >= 0 for weight in weights)
        if not positive or not math.isclose(sum(weights), 1, abs_tol=1e-6):
            raise ValueError(f"{name} must be {count} probabilities that sum to 1, got {given}")
        object.__setattr__(self, name, weights)

    @classmethod
    def preset(cls, name: str, /, **changes: Any) -> "DegradationConfig":
        """Return a published configuration, with some fields changed.

        Args:
            name: Name of the preset, one of `PRESETS`.
            **changes: Values of the fields to change.

        Raises:
            ValueError: There is no such preset or field, or a value is outside of its range.
        """
        if name not in PRESETS:
            raise ValueError(f"unknown degradation preset {name!r}; known: {', '.join(PRESETS)}")
        unknown = sorted(set(changes) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(
                f"unknown degradation setting {', '.join(unknown)}; see the fields of "
                "lsr.degradations.DegradationConfig"
            )
        return cls(**{**PRESETS[name], **changes})

    def digest(self) -> str:
        """Return the first 12 hexadecimal digits of the SHA-256 of the values as canonical JSON."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
