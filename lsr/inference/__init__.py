"""Upscale photographs with a trained model: sampling, tiles, colour correction and memory."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.inference.upscaler import Upscaler

__all__ = ["Upscaler"]


def __getattr__(name: str) -> Any:
    """Import `Upscaler` when it is first used.

    An import of one small module of this package then does not load torch.
    """
    if name == "Upscaler":
        from lsr.inference.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module 'lsr.inference' has no attribute {name!r}")
