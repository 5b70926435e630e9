"""Small random autoencoders, f8c4, in the file format of diffusers."""

from pathlib import Path
from typing import Any

import torch

_SETTINGS = {
    "latent_channels": 4,
    "attention_head_dim": 8,
    "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",),
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",),
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decoder_block_out_channels": (8, 8, 16, 16),
    "encoder_layers_per_block": (1, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1),
    "encoder_qkv_multiscales": ((), (), (), (5,)),
    "decoder_qkv_multiscales": ((), (), (), (5,)),
}


def random_autoencoder(seed: int = 0, **settings: Any) -> Any:
    """Return an `AutoencoderDC` with some settings other than those above."""
    from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoencoderDC(**(_SETTINGS | settings))


def save_autoencoder(folder: Path, seed: int = 0, scaling_factor: float = 0.41407) -> Path:
    """Write one to `folder` and return that."""
    random_autoencoder(seed, scaling_factor=scaling_factor).save_pretrained(folder)
    return folder
