"""A small model and small data that many tests share."""

import torch

from lsr.models.denoiser import DenoiserConfig

TINY = DenoiserConfig(width=32, depth=2, head_dim=16, cross_heads=2, stem_width=8, context_dim=12)


class SyntheticPairs(torch.utils.data.Dataset):
    """A few small random pairs in the form that LinearSRModule takes."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        hr = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(index)) * 2 - 1
        return {"hr": hr, "lr": hr[:, ::4, ::4].contiguous(), "seed": index}
