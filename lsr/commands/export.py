"""`lsr export`: write the weights of a run as one safetensors file with its configuration."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE

if TYPE_CHECKING:
    from torch import Tensor


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr export",
        description="Write a model as a safetensors file with its configuration in the metadata: "
        "the format that `lsr upscale --model` and Upscaler.from_pretrained load. A file named "
        "model.safetensors is also found by its folder or, on the Hugging Face hub, by owner/name.",
        examples=[
            "lsr export runs/tiny/stage1 --out model.safetensors",
            "lsr export runs/tiny/stage1 --out half.safetensors --dtype float16",
        ],
    )
    parser.add_argument(
        "model",
        metavar="RUN|CKPT",
        help="folder of a run (its checkpoints/last.ckpt is used), a checkpoint, or a model file",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE.safetensors", help="file to write"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="write the trained weights themselves instead of their moving average",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "float16", "bfloat16"],
        default="float32",
        help="data type of the weights (default float32)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run `lsr export` and return the exit code."""
    options = parser().parse_args(arguments[1:])
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out {options.out}: must end in .safetensors")
    from lsr.models.checkpoint import read_model, save_denoiser
    from lsr.models.pretrained import find_model

    source = find_model(options.model)
    if source.resolve() == options.out.resolve():
        raise ValueError(f"--out {options.out} is the model itself: choose another file")
    if options.raw and source.suffix == ".safetensors":
        raise ValueError(
            f"{source}: a .safetensors file has only one set of weights; leave out --raw, which "
            "is for checkpoints (.ckpt)"
        )
    found = read_model(source, averaged=not options.raw)
    weights = _converted(found.weights, options.dtype, source)
    save_denoiser(options.out, weights, found.document)
    count = sum(weight.numel() for weight in weights.values())
    sys.stdout.write(
        f"{options.out}: {count / 1e6:.2f} M parameters of {source}, {options.dtype}\n"
    )
    return DONE


def _converted(weights: "dict[str, Tensor]", dtype: str, source: Path) -> "dict[str, Tensor]":
    """Return the weights with all floating-point tensors converted to a data type.

    Raises:
        ValueError: If a weight is NaN or infinite, or too large for the data type.
    """
    import torch

    converted = {}
    for name, weight in weights.items():
        if weight.is_floating_point():
            weight = weight.to(getattr(torch, dtype))
        if not bool(weight.isfinite().all()):
            raise ValueError(
                f"{source}: the weight {name} is not finite in {dtype}; choose another --dtype, or "
                "another checkpoint if the training has diverged"
            )
        converted[name] = weight
    return converted
