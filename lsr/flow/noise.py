"""Draw noise that depends only on the seed of a sample: not on its batch, the rank or the step."""

import torch
from torch import Tensor


def seeded_normal(
    seeds: Tensor, shape: tuple[int, ...], stream: int, device: torch.device
) -> Tensor:
    """Draw standard normal noise, one independent field per seed.

    The same seed gives the same field in any batch, on every rank and after training continues from
    a checkpoint. CPU and CUDA give different fields; two CPUs, or two GPUs, give the same.

    Args:
        seeds: Integers (B,) in [0, 2^31).
        shape: Shape of one field.
        stream: Number 0 to 3 that distinguishes the uses of one seed: the time, the noise of the
            path and so on.
        device: Device that draws and holds the fields.

    Returns:
        Noise (B, *shape), float32.
    """
    assert 0 <= stream < 4, f"the stream must be 0, 1, 2 or 3, not {stream}"
    fields = []
    for seed in seeds.tolist():
        generator = torch.Generator(device).manual_seed(4 * seed + stream)
        fields.append(torch.randn(shape, generator=generator, device=device))
    return torch.stack(fields)
