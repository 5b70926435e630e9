"""`lsr export`: write the model of a run as one file, or as a page that runs it in a browser."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsr.commands.option_parser import OptionParser
from lsr.commands.out_option import check_out_folder
from lsr.errors import DONE

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = {"safetensors": ".safetensors", "onnx": ".onnx", "web": ""}
"""Suffix of `--out` by format; "web" writes a folder."""


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr export",
        description="Write a model as a safetensors file with its configuration in the metadata, "
        "which `lsr upscale --model` and Upscaler.from_pretrained load. If the file is named "
        "model.safetensors, they also find it by its folder or, on the Hugging Face hub, by "
        "owner/name. Or write the model for programs without PyTorch: as an ONNX file, or as a web "
        "page that upscales in the visitor's browser.",
        examples=[
            "lsr export runs/tiny/stage1 --out model.safetensors",
            "lsr export runs/tiny/stage1 --out half.safetensors --dtype float16",
            "lsr export perceptual --format onnx --out model.onnx",
            "lsr export perceptual --format web --out page --runtime package",
        ],
    )
    parser.add_argument(
        "model",
        metavar="perceptual|faithful|RUN",
        help="a model in this package, the folder of a run (its checkpoints/last.ckpt is used), a "
        "checkpoint, or a model file",
    )
    parser.add_argument(
        "--format",
        choices=list(SUFFIX),
        default="safetensors",
        help="kind of file (default safetensors)",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="PATH",
        help="file to write, .safetensors or .onnx, or the folder of the page",
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
        help="data type of the weights (default float32); bfloat16 only for safetensors",
    )
    parser.add_argument(
        "--licence",
        default="not stated",
        metavar="TEXT",
        help="licence of the weights, which an ONNX file and the page state",
    )
    parser.add_argument(
        "--runtime",
        type=Path,
        metavar="FOLDER",
        help="for --format web: folder of the unpacked npm package onnxruntime-web, whose files "
        "the page needs",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run `lsr export` and return the exit code."""
    options = parser().parse_args(arguments[1:])
    _check(options)
    from lsr.models.pretrained import find_model

    source = find_model(options.model)
    if source.resolve() == options.out.resolve():
        raise ValueError(f"--out {options.out} is the model itself: choose another file")
    if options.raw and source.suffix == ".safetensors":
        raise ValueError(
            f"{source}: a .safetensors file has only one set of weights; leave out --raw, which "
            "is for checkpoints (.ckpt)"
        )
    write = _write_safetensors if options.format == "safetensors" else _write_portable
    sys.stdout.write(f"{options.out}: {write(options, source)}\n")
    return DONE


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for options that do not fit the format."""
    suffix = SUFFIX[options.format]
    if suffix and options.out.suffix != suffix:
        raise ValueError(
            f"--out {options.out}: must end in {suffix}, or give another --format than "
            f"{options.format}"
        )
    check_out_folder(options.out.parent if suffix else options.out)
    if options.format == "onnx" and options.dtype == "bfloat16":
        raise ValueError("--dtype bfloat16: ONNX Runtime has no such layers; choose float16")
    if options.format == "web" and options.dtype != "float32":
        raise ValueError(f"--dtype {options.dtype}: browsers compute in float32; leave it out")
    if (options.format == "web") != (options.runtime is not None):
        from lsr.export.web_page import RUNTIME_VERSION

        raise ValueError(
            "--format web and --runtime FOLDER belong together: the folder is the unpacked npm "
            f"package onnxruntime-web (npm pack onnxruntime-web@{RUNTIME_VERSION}, then tar xf)"
        )


def _write_safetensors(options: argparse.Namespace, source: Path) -> str:
    from lsr.models.checkpoint import read_model, save_denoiser

    found = read_model(source, averaged=not options.raw)
    weights = _converted(found.weights, options.dtype, source)
    save_denoiser(options.out, weights, found.document)
    count = sum(weight.numel() for weight in weights.values())
    return f"{count / 1e6:.2f} M parameters of {source}, {options.dtype}"


def _write_portable(options: argparse.Namespace, source: Path) -> str:
    from lsr.export.onnx_model import export_onnx
    from lsr.export.web_page import write_page
    from lsr.models.checkpoint import load_denoiser

    model, shift = load_denoiser(source, averaged=not options.raw)
    about = {"name": Path(options.model).stem, "licence": options.licence}
    if options.format == "web":
        return write_page(options.out, model, shift, runtime=options.runtime, **about)
    return export_onnx(
        options.out, model, shift, dtype=options.dtype, one_step=model.one_step, **about
    )


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
