"""LinearSR: linear-attention diffusion for photorealistic image super-resolution."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.inference.upscaler import Upscaler

__all__ = ["Upscaler", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `Upscaler` when it is first used: the command line must start without torch."""
    if name == "Upscaler":
        from lsr.inference.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module 'lsr' has no attribute {name!r}")
