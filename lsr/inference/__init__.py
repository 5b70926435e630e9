"""A trained model applied to photographs: sampling, tiles, colours and memory."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.inference.upscaler import Upscaler

__all__ = ["Upscaler"]


def __getattr__(name: str) -> Any:
    """Import `Upscaler` on first use: whoever needs one small module here should not pay for all."""
    if name == "Upscaler":
        from lsr.inference.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module 'lsr.inference' has no attribute {name!r}")
