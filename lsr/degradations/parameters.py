"""The random parameters of one degraded sample, and their form as a line of JSON."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Kernel:
    """Parameters of one blur kernel; `kernels.make_kernels` has the formulas.

    Attributes:
        family: Family of the kernel: one of `config.KERNEL_FAMILIES`, or "sinc".
        size: Side of the kernel in pixels, odd, 3 to 21.
        sigma_x: Standard deviation along the kernel's first axis in pixels, 0.01 to 100; 1 for a
            sinc kernel.
        sigma_y: Standard deviation along the kernel's second axis in pixels, 0.01 to 100; 1 for a
            sinc kernel.
        theta: Rotation of the kernel's axes in radians, -pi to pi; 0 if the kernel is isotropic.
        beta: Shape exponent of the generalized and plateau families, 0.01 to 100; 1 for the other
            families.
        cutoff: Cut-off frequency of a sinc kernel in radians per pixel, pi / 5 to pi; 0 for the
            other families.
    """

    family: str
    size: int
    sigma_x: float = 1.0
    sigma_y: float = 1.0
    theta: float = 0.0
    beta: float = 1.0
    cutoff: float = 0.0


@dataclass(frozen=True)
class Stage:
    """Parameters of one stage: blur, then resize, then noise.

    Attributes:
        kernel: Blur kernel; None does not blur.
        factor: Factor of the resize, 0.01 to 8, relative to the size of the HR image in the first
            stage and of the LR image in the second stage.
        mode: Interpolation of the resize, one of `config.RESIZE_MODES`.
        noise: Type of the noise, "gaussian" or "poisson".
        amount: Strength of the noise. Gaussian: standard deviation in units of the range [0, 1],
            0 to 1. Poisson: factor on the noise, 0 to 100.
        grey: Whether the noise is equal in the three channels.
    """

    kernel: Kernel | None
    factor: float
    mode: str
    noise: str
    amount: float
    grey: bool


@dataclass(frozen=True)
class DegradationParameters:
    """All that is random about one sample.

    Attributes:
        identity: Whether the sample is only reduced by antialiased bicubic interpolation; all
            other parameters are then unused.
        first: First stage.
        second: Second stage; None leaves it out.
        quality_1: Quality of the first JPEG compression, a real number from 1 to 100.
        quality_2: Quality of the second JPEG compression, a real number from 1 to 100.
        final_mode: Interpolation of the final resize to the LR size, one of `config.RESIZE_MODES`.
        final_sinc: Sinc filter after the final resize; None leaves it out.
        jpeg_last: Whether the second JPEG compression comes after the final resize and the sinc
            filter (True) or before them (False).
        noise_seed: Seed of the generator that the noise of both stages comes from, 0 to 2^53 - 1.
    """

    identity: bool
    first: Stage
    second: Stage | None
    quality_1: float
    quality_2: float
    final_mode: str
    final_sinc: Kernel | None
    jpeg_last: bool
    noise_seed: int

    def to_json(self) -> str:
        """Return a line of JSON from which `from_json` restores the same parameters bit for bit."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "DegradationParameters":
        """Return the parameters of a line that `to_json` wrote.

        Raises:
            ValueError: The text is not such a line.
        """
        try:
            values = json.loads(text)
            for name in ("first", "second"):
                if values[name] is not None:
                    kernel = values[name].pop("kernel")
                    values[name] = Stage(_kernel(kernel), **values[name])
            values["final_sinc"] = _kernel(values["final_sinc"])
            return cls(**values)
        except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a line of degradation parameters: {error}") from None


def _kernel(values: dict | None) -> Kernel | None:
    return None if values is None else Kernel(**values)
