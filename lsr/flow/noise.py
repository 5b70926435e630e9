"""Noise that belongs to a sample: a function of its seed, not of its place in a batch, the rank or the step."""

import torch
from torch import Tensor


def seeded_normal(
    seeds: Tensor, shape: tuple[int, ...], stream: int, device: torch.device
) -> Tensor:
    """Draw standard normal noise, one independent field per seed.

    The same seed gives the same field alone or in any batch, on every rank and after a resume. Equal on machines of one
    device type; CPU and CUDA differ.

    Args:
        seeds: (B,) integers in [0, 2^31).
        shape: Shape of one field.
        stream: Distinguishes the uses of one seed (the time, the noise of the path, ...); 0 to 3.
        device: Where to draw and keep the field.

    Returns:
        (B, *shape) float32.
    """
    assert 0 <= stream < 4
    fields = []
    for seed in seeds.tolist():
        generator = torch.Generator(device).manual_seed(4 * seed + stream)
        fields.append(torch.randn(shape, generator=generator, device=device))
    return torch.stack(fields)
