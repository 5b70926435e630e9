"""Compute a layer norm with one scale and shift per sample: `modulated_norm`."""

from lsr.ops.modulated_norm.dispatch import modulated_norm

__all__ = ["modulated_norm"]
