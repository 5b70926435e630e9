"""The decoder of DC-AE in bands of rows against the decoder of diffusers on the whole latent."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.allocations import Allocations
from support.tiny_autoencoder import random_autoencoder, save_autoencoder

from lsr.models.autoencoder_dc import DeepCompression
from lsr.models.decoding_in_bands import decode_in_bands
from lsr.models.latent_space import PixelSpace

RES, VIT = "ResBlock", "EfficientViTBlock"

DECODERS = {
    "as published, f32c32": {
        "decoder_block_types": (RES, RES, VIT, VIT),
        "decoder_layers_per_block": (2, 1, 2, 1),
        "decoder_qkv_multiscales": ((), (), (5,), (5,)),
        "upsample_block_type": "interpolate",
    },
    "as published, f64c128": {"decoder_layers_per_block": (0, 2, 1, 2)},
    "other norms": {
        "decoder_block_types": (RES, VIT, RES, VIT),
        "decoder_norm_types": ("rms_norm", "batch_norm", "batch_norm", "rms_norm"),
        "decoder_act_fns": ("silu", "relu", "gelu", "silu"),
        "decoder_qkv_multiscales": ((), (), (), (3, 5)),
        "decoder_in_shortcut": False,
        "decoder_conv_act_fn": "silu",
    },
    "attention first and last": {
        "decoder_block_types": (VIT, RES, RES, VIT),
        "decoder_qkv_multiscales": ((7,), (), (), ()),
        "decoder_layers_per_block": (1, 1, 1, 3),
    },
    "convolutions alone": {
        "decoder_block_types": RES,
        "upsample_block_type": "interpolate",
        "decoder_layers_per_block": (0, 1, 1, 1),
    },
}


@cache
def decoder(name):
    """A decoder in which every weight matters: nothing is left at zero or one."""
    generator = torch.Generator().manual_seed(2)
    model = random_autoencoder(**DECODERS[name]).decoder.eval().requires_grad_(False)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor += torch.rand(tensor.shape, generator=generator)
        elif tensor.is_floating_point():
            tensor += 0.2 * torch.randn(tensor.shape, generator=generator)
    return model.to(memory_format=torch.channels_last)


def latent_of(height, width):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(1, 4, height, width, generator=generator)


@pytest.mark.parametrize("name", DECODERS)
@given(st.integers(1, 14), st.integers(1, 11), st.sampled_from([1, 3000, 20_000, 10**9]))
@settings(max_examples=15)
def test_bands_of_any_height_are_the_whole_picture(name, height, width, floats):
    latent = latent_of(height, width)
    whole = decoder(name)(latent)
    bands = torch.cat(list(decode_in_bands(decoder(name), latent, floats)), dim=2)
    scale = max(1.0, float(whole.abs().max()))
    torch.testing.assert_close(bands / scale, whole / scale, rtol=0, atol=1e-5)


def test_a_tile_alone_is_not_the_whole_picture():
    """The comparison above would find an attention that sees a band only."""
    name, latent = "as published, f32c32", latent_of(24, 4)
    whole, tile = decoder(name)(latent), decoder(name)(latent[:, :, :16])
    assert (whole[:, :, :64] - tile[:, :, :64]).abs().max() > 1e-3 * whole.std()


def peak(name, height, floats):
    """Return the most bytes that bands of `floats` numbers take at any time."""
    model, latent = decoder(name), latent_of(height, 6)
    with Allocations([latent, *model.state_dict().values()]) as allocations:
        for _ in decode_in_bands(model, latent, floats):
            pass
    return allocations.most


def test_memory_does_not_grow_with_the_height():
    expected = peak("convolutions alone", 256, 20_000)
    assert peak("convolutions alone", 768, 20_000) < 1.05 * expected
    assert expected < 8 * 4 * 20_000, "the finest map of 256 rows has 786 thousand numbers"


def test_attention_keeps_one_map_and_frees_it_while_it_is_used():
    grown = peak("as published, f32c32", 768, 20_000) - peak("as published, f32c32", 256, 20_000)
    # The finest map with attention: 16 channels, 2 x 2 positions per latent position.
    kept = 4 * 16 * 4 * 6 * (768 - 256)
    assert grown < 1.1 * kept


def test_the_latent_space_decodes_rows_as_it_decodes_the_whole(tmp_path):
    space = DeepCompression(str(save_autoencoder(tmp_path)), channels=4, factor=8)
    latent = latent_of(13, 6)
    for rows in (None, 16):
        blocks = list(space.decode_rows(iter(latent[0].split(5, dim=1)), rows))
        assert rows is None or len(blocks) > 3
        assert all(block.dtype == torch.float32 for block in blocks)
        torch.testing.assert_close(torch.cat(blocks, 1), space.decode(latent)[0], rtol=0, atol=1e-5)


def test_between_two_blocks_the_caller_has_its_own_precision_and_gradients(tmp_path):
    space = DeepCompression(str(save_autoencoder(tmp_path)), channels=4, factor=8)
    latent = latent_of(13, 6)
    with torch.autocast("cpu", torch.bfloat16):
        blocks = space.decode_rows(iter([latent[0]]), 16)
        first = next(blocks)
        assert torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
        found = torch.cat([first, *blocks], 1)
    assert not found.requires_grad
    torch.testing.assert_close(found, space.decode(latent)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [None, 3, 8, 20])
def test_patches_are_decoded_row_by_row(generator, rows):
    space = PixelSpace(8)
    latent = torch.randn(1, space.channels, 7, 3, generator=generator)
    blocks = list(space.decode_rows(iter(latent[0].split(5, dim=1)), rows))
    assert torch.equal(torch.cat(blocks, 1), space.decode(latent)[0])
    assert rows is None or max(block.shape[1] for block in blocks) <= max(rows, space.factor)
