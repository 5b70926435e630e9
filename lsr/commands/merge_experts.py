"""`lsr merge-experts`: experts that were trained one by one become one model file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lsr.exit_codes import DONE

if TYPE_CHECKING:
    from torch import Tensor


class TrainedExpert(NamedTuple):
    """One expert of a run of its own.

    Attributes:
        path: Its checkpoint.
        index: Which expert it is.
        steps: The optimiser steps it was trained for.
        seed_sha256: The knee it grew from.
        weights: Its averaged weights, under the names that they have in a mixture.
        config: The configuration of the mixture.
    """

    path: Path
    index: int
    steps: int
    seed_sha256: str
    weights: "dict[str, Tensor]"
    config: dict[str, Any]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr merge-experts",
        description="Join experts that were trained one by one (--model.experts.expert 0, 1, ...) into one model file: their averaged "
        "weights. All must come from the same knee, with the same configuration, each expert once.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run folders, or their checkpoints, in any order",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="the model file, .safetensors"
    )
    return parser


def read_expert(run: Path) -> TrainedExpert:
    """Read the expert that a run has trained alone.

    Args:
        run: A run folder, or a checkpoint.

    Raises:
        ValueError: If there is no checkpoint, or it is not of one expert alone.
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
            f"{path}: is not of one expert that was trained alone (--model.experts.expert)"
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
    """Return the state of the mixture and its configuration, as `lsr.models.checkpoint.save_denoiser` takes them.

    Raises:
        ValueError: If the experts are not those of one mixture.
    """
    first = experts[0]
    for other in experts[1:]:
        if other.seed_sha256 != first.seed_sha256:
            raise ValueError(
                f"{other.path}: grew from another knee ({other.seed_sha256[:12]}) than {first.path} ({first.seed_sha256[:12]})"
            )
        keys = sorted(first.config.keys() | other.config.keys())
        differing = [
            f"{key} {other.config.get(key)}, not {first.config.get(key)}"
            for key in keys
            if other.config.get(key) != first.config.get(key)
        ]
        if differing:
            raise ValueError(
                f"{other.path}: is of another model than {first.path}: {', '.join(differing)}"
            )
    n, found = len(first.config["boundaries"]) + 1, sorted(expert.index for expert in experts)
    if found != list(range(n)):
        raise ValueError(
            f"a mixture of {n} experts needs each of 0 to {n - 1} once, not {', '.join(map(str, found))}"
        )
    return {
        name: weight for expert in experts for name, weight in expert.weights.items()
    }, first.config


def main(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = _parser().parse_args(arguments[1:])
    if options.out.suffix != ".safetensors":
        raise ValueError(f"--out {options.out}: model files end in .safetensors")

    from lsr.models.checkpoint import save_denoiser

    experts = [read_expert(run) for run in options.runs]
    save_denoiser(options.out, *merge(experts))
    steps = ", ".join(
        f"{expert.index} after {expert.steps}"
        for expert in sorted(experts, key=lambda expert: expert.index)
    )
    sys.stdout.write(f"{options.out}: {len(experts)} experts; optimiser steps: {steps}\n")
    return DONE
