"""`lsr convert`: published weights of SANA as a LinearSR model to train from, and back."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.exit_codes import DONE

if TYPE_CHECKING:
    from torch import Tensor

_CROSS_HEADS = {1152: 16, 2240: 20}  # SANA's, by width; weights alone do not tell
_SHIFT = 3.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr convert",
        description="Convert a SANA checkpoint (a folder of diffusers, or a .safetensors or .pth file of diffusers or NVlabs) into a "
        "LinearSR model. The weights that look at the LR image begin at zero: the model computes what SANA computes. Train it with "
        "--model.init_from FILE.",
    )
    parser.add_argument("model", choices=["sana"])
    parser.add_argument("src", type=Path, metavar="SRC")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="a .safetensors file"
    )
    parser.add_argument("--scale", type=int, default=4, help="upscaling factor (default 4)")
    parser.add_argument(
        "--cross-heads",
        type=int,
        metavar="A",
        help="heads of the cross-attention, for sizes that are not SANA's own",
    )
    parser.add_argument(
        "--autoencoder", help="folder or hub name of the DC-AE to train with (default SANA 1.1's)"
    )
    parser.add_argument(
        "--to-diffusers", action="store_true", help="the other way: SRC is ours, FILE for diffusers"
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out {options.out}: must end in .safetensors")
    (_to_diffusers if options.to_diffusers else _from_sana)(options)
    sys.stdout.write(f"{options.out}\n")
    return DONE


def _from_sana(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    import torch

    from lsr.models.checkpoint import save_denoiser
    from lsr.models.denoiser import Denoiser
    from lsr.models.sana_weights import read_sana, to_ours
    from lsr.models.sizes import named_size

    weights, published = read_sana(options.src)
    changes = sana_shape(weights, published, options.cross_heads)
    if options.autoencoder:
        changes["autoencoder"] = options.autoencoder
    config = named_size("sana-1.6b", scale=options.scale, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the LR stem is the one part that begins at random
        denoiser = Denoiser(config)
    state = denoiser.state_dict()
    theirs = to_ours(weights, denoiser.net.state_dict())
    state |= {f"net.{name}": weight for name, weight in theirs.items()}
    save_denoiser(options.out, state, asdict(config) | {"shift": _SHIFT})


def _to_diffusers(options: argparse.Namespace) -> None:
    from safetensors.torch import save_file

    from lsr.files import atomic_path
    from lsr.models.checkpoint import read_denoiser
    from lsr.models.sana_weights import to_diffusers

    weights, config, _ = read_denoiser(options.src)
    if config.autoencoder is None:
        raise ValueError(f"{options.src} works in pixel space: SANA has no such model")
    net = {
        name.removeprefix("net."): weight
        for name, weight in weights.items()
        if name.startswith("net.")
    }
    with atomic_path(options.out) as temporary:
        save_file(to_diffusers(net, config.latent_channels), temporary, {"format": "pt"})


def sana_shape(
    weights: "dict[str, Tensor]", published: dict[str, Any], cross_heads: int | None
) -> dict[str, Any]:
    """Tell the fields of `DenoiserConfig` from the weights of a SANA transformer.

    Args:
        weights: By diffusers' or NVlabs' names.
        published: `config.json` of diffusers, or nothing.
        cross_heads: Heads of the cross-attention where neither tells.

    Raises:
        ValueError: If the heads are not known, or these are no weights of SANA.
    """
    from lsr.models.sana_weights import layout_of, sources

    layout = layout_of(weights)

    def shape(ours: str) -> tuple[int, ...]:
        name = sources(ours, layout)[0]
        if name not in weights:
            raise ValueError(f"the SANA checkpoint lacks {name} ({layout} names)")
        return tuple(weights[name].shape)

    width, channels = shape("embed.weight")[:2]
    heads = cross_heads or published.get("num_cross_attention_heads") or _CROSS_HEADS.get(width)
    if heads is None:
        raise ValueError(
            f"width {width} is none of SANA's sizes: tell the heads of the cross-attention with --cross-heads"
        )
    depth = 0
    while sources(f"blocks.{depth}.scale_shift_table", layout)[0] in weights:
        depth += 1
    return {
        "width": width,
        "depth": depth,
        "cross_heads": heads,
        "latent_channels": channels,
        "context_dim": shape("context_embedding.mlp.0.weight")[1],
        "mlp_ratio": shape("blocks.0.ffn.inverted.weight")[0] / (2 * width),
        "qk_norm": sources("blocks.0.attention.norm_q.weight", layout)[0] in weights,
    }
