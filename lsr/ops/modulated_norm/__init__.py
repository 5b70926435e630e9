"""Layer norm without weights, scaled and shifted for each sample: one public function, `modulated_norm`."""

from lsr.ops.modulated_norm.dispatch import modulated_norm

__all__ = ["modulated_norm"]
