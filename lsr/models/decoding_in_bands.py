"""Decode latents with the decoder of DC-AE in bands of rows, with the result of the whole picture.

Its convolutions reach a few rows; `in_bands` gives them these. Its attention is linear: a position
sees the others only through sums over the whole map (arXiv 2205.14756, section 3.1). So a map that
is attended to is streamed twice. The first sweep adds up the sums and keeps the map, the second
applies them. The layers are those of diffusers with their weights. Only the attention is written
here once more, because it must be stopped between its sums and their use.
"""

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.models.bands import Bands, drain, in_bands, regroup

_FEWEST_ROWS = 4
"""Rows of the lowest bands: lower ones would consist of halo for the most part."""


def decode_in_bands(decoder: Any, latent: Tensor, floats: int) -> Bands:
    """Decode the latent of one picture.

    Args:
        decoder: Decoder of a `diffusers.AutoencoderDC`.
        latent: Latent (1, C, h, w), in the type and on the device of the decoder.
        floats: Size of the largest feature map of a band, in numbers. It sets the height of the
            bands at every resolution, and so the memory.

    Returns:
        Blocks (1, 3, r, W) of the image.
    """
    from diffusers.models.autoencoders.autoencoder_dc import DCUpBlock2d, EfficientViTBlock

    height, width = latent.shape[2:]
    levels = list(reversed(decoder.up_blocks))
    first = latent.split(_rows_of_a_band(levels[0], width, floats), dim=2)
    bands = in_bands(iter(first), partial(_enter, decoder), _reach(decoder.conv_in), height)
    for level in levels:
        for layer in level:
            if isinstance(layer, DCUpBlock2d):
                height, width = 2 * height, 2 * width
                # Half the rows, because the layer doubles them.
                bands = regroup(bands, _rows_of_a_band(level[1:], width, floats) // 2)
                bands = in_bands(bands, layer, _reach(layer), height // 2, 2)
            elif isinstance(layer, EfficientViTBlock):
                bands = _attended(bands, layer.attn, (height, width))
                bands = in_bands(bands, layer.conv_out, _reach(layer.conv_out), height)
            else:
                bands = in_bands(bands, layer, _reach(layer), height)
    factor = 1
    if isinstance(decoder.conv_out, DCUpBlock2d):
        factor = 2
        bands = regroup(bands, _rows_of_a_band([decoder.conv_out], 2 * width, floats) // 2)
    return in_bands(bands, partial(_leave, decoder), _reach(decoder.conv_out), height, factor)


def _convolutions(layers: Iterable[nn.Module]) -> list[nn.Conv2d]:
    return [
        module for layer in layers for module in layer.modules() if isinstance(module, nn.Conv2d)
    ]


def _reach(layer: nn.Module) -> int:
    """Return the number of rows on each side that convolutions one after the other reach."""
    return sum(convolution.kernel_size[0] // 2 for convolution in _convolutions([layer]))


def _rows_of_a_band(level: Iterable[nn.Module], width: int, floats: int) -> int:
    """Return the number of rows for which the widest feature map has at most `floats` numbers."""
    widest = max(max(each.in_channels, each.out_channels) for each in _convolutions(level))
    return max(_FEWEST_ROWS, floats // (widest * width))


def _enter(decoder: Any, latent: Tensor) -> Tensor:
    """Apply the layers before the first level."""
    hidden = decoder.conv_in(latent)
    if not decoder.in_shortcut:
        return hidden
    return hidden + latent.repeat_interleave(decoder.in_shortcut_repeats, dim=1)


def _leave(decoder: Any, hidden: Tensor) -> Tensor:
    """Apply the layers after the last level."""
    normalised = decoder.norm_out(hidden.movedim(1, -1)).movedim(-1, 1)
    return decoder.conv_out(decoder.conv_act(normalised))


def _attended(bands: Bands, attention: Any, size: tuple[int, int]) -> Bands:
    """Apply the attention of a block to a map of `size` rows and columns."""
    height, width = size
    if height * width <= attention.attention_head_dim:
        # So few positions attend to each other without sums.
        yield attention(torch.cat(list(bands), dim=2))
        return
    kept: deque[Tensor] = deque()

    def keep(band: Tensor) -> Tensor:
        kept.append(band.clone())  # a copy, because bands are views of higher windows
        return kept[-1]

    reach = max((_reach(scale) for scale in attention.to_qkv_multiscale), default=0)
    projected = in_bands(map(keep, bands), partial(_project, attention), reach, height)
    sums = sum(map(partial(_sums, attention), projected), start=torch.zeros(()))
    sums = sums.float().to(kept[0].device)
    yield from in_bands(drain(kept), partial(_attend, attention, sums), reach, height)


def _project(attention: Any, hidden: Tensor) -> Tensor:
    """Return queries, keys and values of all heads and scales, float32, (1, A 3 E, r, W)."""
    tokens = hidden.movedim(1, -1)
    qkv = [attention.to_q(tokens), attention.to_k(tokens), attention.to_v(tokens)]
    qkv = torch.cat(qkv, dim=-1).movedim(-1, 1)
    scales = [scale(qkv) for scale in attention.to_qkv_multiscale]
    return torch.cat([qkv, *scales], dim=1).float()


def _heads(attention: Any, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return relu(q), relu(k) and v of the heads, each (1, A, E, r W)."""
    heads = projected.flatten(2).unflatten(1, (-1, 3 * attention.attention_head_dim))
    q, k, v = heads.chunk(3, dim=2)
    return attention.nonlinearity(q), attention.nonlinearity(k), v


def _sums(attention: Any, projected: Tensor) -> Tensor:
    """Return `sum v relu(k)^T` and, below it, `sum relu(k)^T`: (1, A, E + 1, E), float64."""
    _, k, v = _heads(attention, projected)
    # A picture has millions of positions: float32 would lose digits from band to band. On the CPU,
    # because not every device has float64.
    return (F.pad(v, (0, 0, 0, 1), value=1.0) @ k.transpose(-1, -2)).cpu().double()


def _attend(attention: Any, sums: Tensor, hidden: Tensor) -> Tensor:
    """Return the attention of a band, given the sums over the whole map in float32."""
    q, _, _ = _heads(attention, _project(attention, hidden))
    attended = sums @ q
    attended = attended[:, :, :-1] / (attended[:, :, -1:] + attention.eps)
    attended = attended.flatten(1, 2).unflatten(-1, hidden.shape[2:]).to(hidden.dtype)
    out = attention.to_out(attended.movedim(1, -1))
    if attention.norm_type == "rms_norm":
        out = attention.norm_out(out).movedim(-1, 1)
    else:
        out = attention.norm_out(out.movedim(-1, 1))
    return out + hidden if attention.residual_connection else out
