"""What a degradation may do: every probability and range of the pipeline, with the published presets."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class DegradationConfig:
    """The law of a two-stage photograph degradation; the defaults are Real-ESRGAN's with the defects of its operators mended.

    A range `(low, high)` is sampled uniformly. The suffixes `_1` and `_2` name the first and the second stage.
    Structure and default values: Wang et al., "Real-ESRGAN", 2021, and its published training options.

    Attributes:
        scale: HR pixels per LR pixel along each axis, at least 1.
        identity_probability: probability of an undegraded sample, i.e. the antialiased bicubic reduction alone.
        usm_lr: make the LR from the sharpened HR.
        usm_target: the training target is the sharpened HR (see `pipeline.pair`).
        kernel_sizes_1: smallest and largest odd size of the first blur kernel, in pixels.
        kernel_sizes_2: the same for the second blur.
        kernel_sizes_final: the same for the closing sinc filter.
        kernel_probabilities: one weight for each of `KERNEL_FAMILIES`, used when no sinc kernel is drawn.
        sinc_probability: probability that a blur kernel is a sinc (ringing) kernel.
        sigma_1: standard deviations of the first blur in pixels.
        sigma_2: standard deviations of the second blur in pixels.
        beta_generalized: shape of the generalized Gaussians; each side of 1 is equally likely.
        beta_plateau: shape of the plateau kernels; each side of 1 is equally likely.
        resize_1_probabilities: probabilities of (up, down, keep).
        resize_1_range: down draws from (low, 1), up from (1, high); relative to the HR.
        resize_2_probabilities: probabilities of (up, down, keep).
        resize_2_range: the same as `resize_1_range`, relative to the LR.
        gaussian_probability: probability that a noise is Gaussian; otherwise it is Poisson.
        grey_probability: probability that a noise is the same in the three channels.
        gaussian_1: standard deviation of the first Gaussian noise in 8 bit levels.
        gaussian_2: the same for the second.
        poisson_1: factor on the first Poisson noise.
        poisson_2: the same for the second.
        jpeg_quality_1: quality of the first JPEG compression, 1 to 100.
        jpeg_quality_2: the same for the second.
        second_stage_probability: probability of the second blur-resize-noise stage.
        blur_2_probability: probability of the blur inside the second stage.
        final_sinc_probability: probability of the closing sinc filter.
        jpeg: "true" follows libjpeg with plain tensor operations; "libjpeg" is libjpeg itself and needs the CPU; "compat" is
            the approximation most published networks were trained with (transposed luma table, black padding).
        aligned: keep every resize registered to the HR grid. False maps the first resize as the published pipeline does,
            which shifts content by up to several pixels.
        antialias: antialias the random resizes; the published pipeline does not.
        quantise: round the LR to 8 bit levels.

    Raises:
        ValueError: a value lies outside of its range.
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
        for name in ("kernel_sizes_1", "kernel_sizes_2", "kernel_sizes_final"):
            self._normalise(name, 3, MAX_KERNEL_SIZE, whole=True)
            if any(size % 2 == 0 for size in getattr(self, name)):
                raise ValueError(f"{name} must be odd, got {getattr(self, name)}")
        for name, (low, high) in _RANGE_LIMITS.items():
            self._normalise(name, low, high)
        for name in ("resize_1_range", "resize_2_range"):
            low, high = getattr(self, name)
            if not low <= 1 <= high:
                raise ValueError(f"{name} must contain 1, got {(low, high)}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is bool and not isinstance(value, bool):
                raise ValueError(f"{field.name} must be true or false, got {value!r}")
            if field.name.endswith("_probability"):
                if (
                    isinstance(value, bool)
                    or not isinstance(value, int | float)
                    or not 0 <= value <= 1
                ):
                    raise ValueError(f"{field.name} must lie in [0, 1], got {value!r}")
                object.__setattr__(
                    self, field.name, float(value)
                )  # 1 and 1.0 are the same law, with the same digest
        for name, count in (
            ("kernel_probabilities", len(KERNEL_FAMILIES)),
            ("resize_1_probabilities", 3),
            ("resize_2_probabilities", 3),
        ):
            try:
                weights = tuple(float(weight) for weight in getattr(self, name))
            except (TypeError, ValueError):
                weights = ()
            if (
                len(weights) != count
                or not all(weight >= 0 for weight in weights)
                or not math.isclose(sum(weights), 1, abs_tol=1e-6)
            ):
                raise ValueError(
                    f"{name} must be {count} probabilities that sum to 1, got {getattr(self, name)}"
                )
            object.__setattr__(self, name, weights)
        if self.jpeg not in JPEG_MODES:
            raise ValueError(f"jpeg must be one of {', '.join(JPEG_MODES)}, got {self.jpeg!r}")

    def _normalise(self, name: str, low: float, high: float, whole: bool = False) -> None:
        """Check the range `name` against its limits and store it as a tuple, whatever sequence it came as."""
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

    @classmethod
    def preset(cls, name: str, /, **changes: Any) -> "DegradationConfig":
        """Return the published preset `name`, with `changes` to single fields.

        Raises:
            ValueError: there is no such preset or field, or a value is out of range.
        """
        if name not in PRESETS:
            raise ValueError(f"unknown degradation preset {name!r}; known: {', '.join(PRESETS)}")
        unknown = sorted(set(changes) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"unknown degradation setting {', '.join(unknown)}")
        return cls(**{**PRESETS[name], **changes})

    def digest(self) -> str:
        """Return 12 hexadecimal digits that identify the values: the start of the SHA-256 of the canonical JSON."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


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

_NO_USM: dict[str, Any] = {"usm_lr": False, "usm_target": False}

_MILD: dict[str, Any] = {
    "resize_1_range": (0.3, 1.5),
    "gaussian_1": (1.0, 15.0),
    "poisson_1": (0.05, 2.0),
    "jpeg_quality_1": (60.0, 95.0),
    "blur_2_probability": 0.5,
    "resize_2_range": (0.6, 1.2),
    "gaussian_2": (1.0, 12.0),
    "poisson_2": (0.05, 1.0),
    "jpeg_quality_2": (60.0, 100.0),
}

_STABLESR: dict[str, Any] = {
    **_MILD,
    "identity_probability": 0.01,
    "sigma_1": (0.2, 1.5),
    "sigma_2": (0.2, 1.0),
    "beta_generalized": (0.5, 2.0),
    "beta_plateau": (1.0, 1.5),
    "quantise": False,
}

PRESETS: dict[str, dict[str, Any]] = {
    "realesrgan": {},
    "stablesr": _STABLESR,
    "stablesr_768": {
        **_STABLESR,
        **_NO_USM,
        "jpeg_quality_2": (60.0, 95.0),
        "identity_probability": 0.0,
    },
    "pasd": {**_MILD, **_NO_USM},
    "seesr": {},
    "osediff": _NO_USM,
    "dreamclear": {},
    "diffbir_v21": {},
    "resshift": {
        **_NO_USM,
        "kernel_sizes_1": (3, 19),
        "kernel_sizes_2": (3, 13),
        "kernel_sizes_final": (3, 13),
        "second_stage_probability": 0.5,
    },
    "bicubic": {**_NO_USM, "identity_probability": 1.0},
}
