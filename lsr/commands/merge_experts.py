"""`lsr merge-experts`: merge experts that were trained one by one into one model file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE

if TYPE_CHECKING:
    from torch import Tensor


class TrainedExpert(NamedTuple):
    """An expert that was trained alone in a run of its own.

    Attributes:
        path: Checkpoint of the run.
        index: Index of the expert in the mixture, from 0.
        steps: Number of optimiser steps of the run.
        seed_sha256: SHA-256 of the weights of the knee that the expert started from.
        weights: Averaged weights (EMA) of the expert, by their names in the mixture.
        config: Configuration of the mixture.
    """

    path: Path
    index: int
    steps: int
    seed_sha256: str
    weights: "dict[str, Tensor]"
    config: dict[str, Any]


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr merge-experts",
        description="Merge the averaged weights of experts that were trained one by one "
        "(--model.experts.expert 0, 1, ...) into one model file. All must have the same knee and "
        "the same configuration, and each expert must be given once.",
        examples=[
            "lsr merge-experts runs/expert0 runs/expert1 --out experts.safetensors",
            "lsr merge-experts runs/expert?/checkpoints/last.ckpt --out experts.safetensors",
        ],
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run folders or checkpoints, in any order",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="model file to write (.safetensors)"
    )
    return parser


def read_expert(run: Path) -> TrainedExpert:
    """Read the expert that a run has trained alone.

    Args:
        run: A run folder or a checkpoint.

    Raises:
        ValueError: If there is no checkpoint, or its run did not train one expert alone.
    """
    from lsr.experts.run import EXPERT_RUN
    from lsr.models.checkpoint import MODEL_CONFIG, denoiser_weights
    from lsr.training.checkpoint_io import AtomicCheckpointIO

    path = run / "checkpoints" / "last.ckpt" if run.is_dir() else run
    checkpoint = AtomicCheckpointIO().load_checkpoint(path)
    origin = checkpoint.get(EXPERT_RUN, {})
    index = origin.get("expert")
    if index is None:
        raise ValueError(
            f"{path}: the run did not train one expert alone; train each expert with "
            "--model.experts.expert N"
        )
    weights = {
        name: weight
        for name, weight in denoiser_weights(checkpoint).items()
        if name.startswith(f"experts.{index}.")
    }
    return TrainedExpert(
        path,
        index,
        checkpoint["global_step"],
        origin["seed_sha256"],
        weights,
        checkpoint[MODEL_CONFIG],
    )


def merge(experts: Sequence[TrainedExpert]) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Return the weights and the configuration of the mixture for `save_denoiser`.

    Raises:
        ValueError: If the experts do not belong to one mixture, or one is missing or given twice.
    """
    first = experts[0]
    for other in experts[1:]:
        if other.seed_sha256 != first.seed_sha256:
            raise ValueError(
                f"{other.path} and {first.path} were trained from different knees (SHA-256 "
                f"{other.seed_sha256[:12]} and {first.seed_sha256[:12]}): use one experts.seed"
            )
        keys = sorted(first.config.keys() | other.config.keys())
        differing = [
            f"{key} {other.config.get(key)}, not {first.config.get(key)}"
            for key in keys
            if other.config.get(key) != first.config.get(key)
        ]
        if differing:
            raise ValueError(
                f"{other.path}: the model differs from that of {first.path} "
                f"({', '.join(differing)}): train both with one configuration"
            )
    n = len(first.config["boundaries"]) + 1
    found = sorted(expert.index for expert in experts)
    if found != list(range(n)):
        raise ValueError(
            f"give the run of each expert from 0 to {n - 1} once; these are runs of experts "
            f"{', '.join(map(str, found))}"
        )
    weights: dict[str, Tensor] = {}
    for expert in experts:
        weights |= expert.weights
    return weights, first.config


def main(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code."""
    options = parser().parse_args(arguments[1:])
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out {options.out}: must end in .safetensors")

    from lsr.models.checkpoint import save_denoiser

    experts = [read_expert(run) for run in options.runs]
    save_denoiser(options.out, *merge(experts))
    steps = ", ".join(
        f"{expert.index} after {expert.steps}"
        for expert in sorted(experts, key=lambda expert: expert.index)
    )
    sys.stdout.write(f"{options.out}: {len(experts)} experts; optimiser steps: {steps}\n")
    return DONE
