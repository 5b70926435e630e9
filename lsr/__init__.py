"""LinearSR: linear-attention diffusion for photorealistic image super-resolution."""

__version__ = "0.1.0"
