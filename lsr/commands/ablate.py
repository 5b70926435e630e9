"""`lsr ablate`: train every experiment of a folder, or one in variations, judge all alike, write one table."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lsr.exit_codes import DONE, SOME_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lsr ablate",
        description="Train every experiment of a folder, or one in variations, and compare them. What is not listed here goes to every "
        "`lsr fit`, such as --trainer.max_steps 400.",
        allow_abbrev=False,
    )
    parser.add_argument("experiments", type=Path, help="a YAML file, or a folder of them")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="KEY=[A, B]",
        help="a setting and its values; every combination",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of the runs and of table.md, runs.csv and curves.png",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1], help="of training; a run for each (default 1)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        default=[1, 5, 20],
        help="numbers of sampling steps to judge at",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=["psnr_y", "ssim_y", "niqe"],
        help="of the experiments' val_metrics",
    )
    parser.add_argument(
        "--reference",
        nargs=2,
        metavar=("YAML", "FILE"),
        help="a trained model to put above the others",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Train, judge, write; returns the exit code. A run that was trained already is only judged."""
    options, common = _parser().parse_known_args(arguments[1:])

    from lsr.runs.table import write_table
    from lsr.training.ablation import (
        Variant,
        draw_curves,
        folder_of,
        judge,
        train_variant,
        variants,
    )

    chosen = variants(options.experiments, options.vary, common)
    reference = [Path(path) for path in options.reference or ()]
    for path in reference:
        if not path.is_file():
            raise ValueError(f"{path}: no such reference")
    judged = options.steps, options.metrics
    rows: list[dict[str, str | float]] = []
    failed: list[str] = []
    if reference:  # first: a mistake in it is to be told before the others are trained
        config, checkpoint = reference
        # Its run folder has what its metrics need.
        rows.append(
            judge(Variant("reference", config), checkpoint.parent.parent, checkpoint, *judged)
        )
    for seed in options.seeds:
        for variant in chosen:
            folder = folder_of(options.out, variant, seed)
            try:
                if (step := train_variant(variant, seed, folder)) is None:
                    rows.append(
                        judge(variant, folder, folder / "checkpoints" / "last.ckpt", *judged)
                    )
                else:
                    rows.append({"model": variant.name, "diverged at step": str(step)})
            except ValueError as error:  # weights that are not here, for one: the others go on
                failed.append(f"{folder}: {' '.join(str(error).split())}")
    sys.stdout.write(write_table(rows, options.out, "model") if rows else "")
    draw_curves(options.out, chosen, options.seeds, options.metrics)
    sys.stdout.writelines(f"failed: {folder}\n" for folder in failed)
    return SOME_FAILED if failed else DONE
