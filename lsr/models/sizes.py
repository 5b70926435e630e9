"""Name the configurations of the models."""

from typing import Any

from lsr.models.denoiser import DenoiserConfig

_SANA: dict[str, Any] = {
    "autoencoder": "mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers",
    "residual_std": 0.0,
    "prediction": "velocity",
    "head_dim": 32,
    "mlp_ratio": 2.5,
    "stem_width": 64,
    "context_dim": 2304,
}

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"width": 64, "depth": 2},
    "small": {"width": 256, "depth": 8},
    "sana-0.6b": {**_SANA, "width": 1152, "depth": 28, "cross_heads": 16},
    "sana-1.6b": {**_SANA, "width": 2240, "depth": 20, "cross_heads": 20},
}
"""Fields of `DenoiserConfig` for each name.

The first two models work in pixel space, the two of SANA (arXiv 2410.10629) in the latents of
DC-AE.
"""


def named_size(name: str, **changes: Any) -> DenoiserConfig:
    """Return the configuration of a named model, with `changes` to some of its fields.

    Raises:
        ValueError: If there is no model of this name.
    """
    if name not in SIZES:
        raise ValueError(f"unknown size {name!r}; known are {', '.join(SIZES)}")
    return DenoiserConfig(**{**SIZES[name], **changes})
