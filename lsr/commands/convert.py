"""`lsr convert`: convert published weights of SANA to a LinearSR model for training, and back."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE

if TYPE_CHECKING:
    from torch import Tensor

_CROSS_HEADS = {1152: 16, 2240: 20}
"""Heads of SANA's cross-attention, by width; the shapes of the weights do not show them."""
_SHIFT = 3.0
"""Shift of the flow times that is written to a converted model."""


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr convert",
        description="Convert a checkpoint of SANA (a folder of diffusers, or a .safetensors or "
        ".pth file of diffusers or NVlabs) to a LinearSR model. The weights that read the LR image "
        "are zero, so the model computes the same as SANA until it is trained: lsr fit "
        "--model.init_from FILE.",
        examples=[
            "lsr convert sana weights/sana --out weights/sana.safetensors",
            "lsr convert sana model.safetensors --out diffusers.safetensors --to-diffusers",
        ],
    )
    parser.add_argument("model", choices=["sana"], help="model to convert")
    parser.add_argument("src", type=Path, metavar="SRC", help="checkpoint, a folder or a file")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="file to write (.safetensors)"
    )
    parser.add_argument("--scale", type=int, default=4, help="upscaling factor (default 4)")
    parser.add_argument(
        "--cross-heads",
        type=int,
        metavar="A",
        help="number of heads of the cross-attention, needed only for a width that no published "
        "SANA has",
    )
    parser.add_argument(
        "--autoencoder",
        help="folder of the DC-AE autoencoder to train with, or its name on the Hugging Face hub "
        "(default: that of SANA 1.1)",
    )
    parser.add_argument(
        "--to-diffusers",
        action="store_true",
        help="convert back: SRC is a LinearSR model, FILE is for diffusers",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code."""
    options = parser().parse_args(arguments[1:])
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out {options.out}: must end in .safetensors")
    (_to_diffusers if options.to_diffusers else _from_sana)(options)
    sys.stdout.write(f"{options.out}\n")
    return DONE


def _from_sana(options: argparse.Namespace) -> None:
    """Write a LinearSR model with the weights of SANA."""
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
        # Only the stem of the LR image keeps its random weights.
        torch.manual_seed(0)
        denoiser = Denoiser(config)
    state = denoiser.state_dict()
    theirs = to_ours(weights, denoiser.net.state_dict())
    state |= {f"net.{name}": weight for name, weight in theirs.items()}
    save_denoiser(options.out, state, asdict(config) | {"shift": _SHIFT})


def _to_diffusers(options: argparse.Namespace) -> None:
    """Write the weights of a LinearSR model by the names of diffusers."""
    from safetensors.torch import save_file

    from lsr.files import atomic_path
    from lsr.models.checkpoint import read_denoiser
    from lsr.models.sana_weights import to_diffusers

    weights, config, _ = read_denoiser(options.src)
    if config.autoencoder is None:
        raise ValueError(
            f"{options.src} works on pixels, but SANA works on latents: only a model with an "
            "autoencoder can be converted"
        )
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
    """Return the fields of `DenoiserConfig` that the weights of a SANA transformer determine.

    Args:
        weights: Weights by the names of diffusers or NVlabs.
        published: Contents of `config.json` of diffusers; empty if there is none.
        cross_heads: Number of heads of the cross-attention; None to read it from `published`, or
            to infer it from the width.

    Raises:
        ValueError: If the number of heads is unknown, or the weights are not those of SANA.
    """
    from lsr.models.sana_weights import layout_of, sources

    layout = layout_of(weights)

    def shape(ours: str) -> tuple[int, ...]:
        """Return the shape of a weight, given by its LinearSR name."""
        name = sources(ours, layout)[0]
        if name not in weights:
            raise ValueError(
                f"the SANA checkpoint lacks {name} ({layout} names): it is incomplete or another "
                "model; fetch it again"
            )
        return tuple(weights[name].shape)

    width, channels = shape("embed.weight")[:2]
    heads = cross_heads or published.get("num_cross_attention_heads") or _CROSS_HEADS.get(width)
    if heads is None:
        raise ValueError(
            f"the number of cross-attention heads is not known for a model of width {width}: "
            "give it with --cross-heads"
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
