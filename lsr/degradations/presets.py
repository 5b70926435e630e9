"""Published degradations by name: their differences from the defaults of `DegradationConfig`."""

from typing import Any

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
"""Preset -> fields of `DegradationConfig` that it changes."""
