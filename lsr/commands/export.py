"""`lsr export`: the weights of a run as one safetensors file that describes itself."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lsr.exit_codes import DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr export",
        description="Write a model as safetensors with its configuration in the metadata: what `lsr upscale --model` and "
        "Upscaler.from_pretrained take. Called model.safetensors it can be given by its folder or, on the hub, by owner/name.",
    )
    parser.add_argument(
        "model",
        metavar="RUN|CKPT",
        help="a run's folder (its checkpoints/last.ckpt), a checkpoint or a model file",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.safetensors")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="the weights that were being trained, not their moving average",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "float16", "bfloat16"],
        default="float32",
        help="of the weights (default float32)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out {options.out}: must end in .safetensors")
    from dataclasses import asdict

    import torch

    from lsr.models.checkpoint import read_model, save_denoiser
    from lsr.models.pretrained import find_model

    source = find_model(options.model)
    if source.resolve() == options.out.resolve():
        raise ValueError(f"--out {options.out} is the model itself")
    if options.raw and source.suffix == ".safetensors":
        raise ValueError(
            f"{source}: --raw is for checkpoints; a model file holds one set of weights"
        )
    found = read_model(source, averaged=not options.raw)
    dtype = getattr(torch, options.dtype)
    weights = {
        name: weight.to(dtype) if weight.is_floating_point() else weight
        for name, weight in found.weights.items()
    }
    if not all(bool(weight.isfinite().all()) for weight in weights.values()):
        raise ValueError(f"{source}: weights that are not finite in {options.dtype}")
    config = asdict(found.config) | {"shift": found.shift}
    of_experts = {"boundaries": found.boundaries, "depths": found.depths}
    save_denoiser(
        options.out,
        weights,
        config | {key: value for key, value in of_experts.items() if value is not None},
    )
    count = sum(weight.numel() for weight in weights.values())
    sys.stdout.write(
        f"{options.out}: {count / 1e6:.2f} M parameters of {source}, {options.dtype}\n"
    )
    return DONE
