"""How a trained model is sampled: the settings that Python, `lsr upscale` and `lsr eval` share."""

from dataclasses import dataclass
from numbers import Integral, Real

COLOR_FIXES = ("none", "adain", "wavelet")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Settings of sampling.

    Attributes:
        num_inference_steps: Sampling steps, at least 1. One step is the most faithful to the input;
            more steps add texture.
        seed: Seed of the sampler's noise, in [0, 2^31).
        memory: Budget of memory in bytes for one picture, in addition to the picture itself. It
            changes the time, never the result. None takes half of the free memory.
        color_fix: How the colours are brought back to those of the input: "none", "adain" or
            "wavelet", see `lsr.inference.color_fix`.
        guidance_scale: Scale of classifier-free guidance, see `lsr.flow.classifier_free`. 1 turns
            it off; any other value doubles the work.

    Raises:
        TypeError: If a value is of another type.
        ValueError: If a value is out of its range.
    """

    num_inference_steps: int = 1
    seed: int = 0
    memory: int | None = None
    color_fix: str = "adain"
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("num_inference_steps", "seed", "guidance_scale"):
            value = getattr(self, name)
            kind = Real if name == "guidance_scale" else Integral
            if isinstance(value, bool) or not isinstance(value, kind):
                wanted = "number" if kind is Real else "whole number"
                raise TypeError(f"{name} must be a {wanted}, not {value!r:.80}")
        if self.num_inference_steps < 1:
            raise ValueError(
                "the number of sampling steps (num_inference_steps, --steps) must be at least 1, "
                f"not {self.num_inference_steps}"
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"the seed must be from 0 to 2^31 - 1, not {self.seed}")
        if self.color_fix not in COLOR_FIXES:
            known = ", ".join(COLOR_FIXES)
            raise ValueError(
                f"the colour fix (color_fix, --color-fix) must be one of {known}, "
                f"not {self.color_fix!r}"
            )
        if self.memory is not None and (not isinstance(self.memory, int) or self.memory < 1):
            raise ValueError(f"the memory budget is a number of bytes above 0, not {self.memory!r}")

    def check_steps(self, one_step: bool) -> None:
        """Check that a model which was trained for one sampling step is not asked for more.

        Args:
            one_step: Whether the model was trained for one step alone.

        Raises:
            ValueError: If it was, and there are more steps.
        """
        if one_step and self.num_inference_steps > 1:
            raise ValueError(
                f"this model makes a picture in one step, not in {self.num_inference_steps}: leave "
                "out num_inference_steps (--steps)"
            )


def check_scale(scale: float) -> None:
    """Check an upscaling factor.

    Raises:
        ValueError: If it is not a finite number above 0.
    """
    if not 0 < scale < float("inf"):
        raise ValueError(f"the scale must be a number above 0, not {scale}")


DEFAULT_SAMPLING = SamplingConfig()
