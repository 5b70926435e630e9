"""`lsr ablate`: train and evaluate the variants of experiments, and compare them in one table."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE, SOME_FAILED, one_line


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr ablate",
        description="Train every experiment of a folder, or one experiment with different "
        "settings, and compare them in one table. Options that are not listed here are passed to "
        "every `lsr fit`, such as --trainer.max_steps 400. Variants that are trained already are "
        "only evaluated. Exit code 1: some variants failed; each is named, and the others are "
        "done.",
        allow_abbrev=False,
        examples=[
            "lsr ablate experiments/ablations/experts --out runs/experts",
            'lsr ablate my.yaml --out runs/rates --vary "model.optimizer.lr=[1e-3, 3e-3]"',
        ],
    )
    parser.add_argument("experiments", type=Path, help="a YAML file, or a folder of YAML files")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="KEY=[A, B]",
        help="a setting and its values; given several times, every combination is trained",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the runs and for table.md, runs.csv and curves.png",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[1],
        help="seeds of the training data; one run for each (default 1). The initial weights are "
        "those of --seed_everything in all runs",
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        default=[1, 5, 20],
        help="numbers of sampling steps to evaluate with (default 1 5 20)",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        help="metrics of the table: val_metrics of the experiments, or losses such as loss "
        "(default psnr_y ssim_y niqe, without those that no experiment has)",
    )
    parser.add_argument(
        "--reference",
        nargs=2,
        metavar=("YAML", "FILE"),
        help="a trained model for the first row of the table: its experiment and its checkpoint",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code."""
    options, common = parser().parse_known_args(arguments[1:])

    from lsr.runs.table import write_table
    from lsr.training.ablation import (
        draw_curves,
        folder_of,
        judge,
        metrics_of_table,
        train_variant,
    )
    from lsr.training.variants import Variant, variants

    chosen = variants(options.experiments, options.vary, common)
    reference = [Path(path) for path in options.reference or ()]
    for path in reference:
        if not path.is_file():
            raise ValueError(
                f"--reference {path}: no such file; give the YAML file of the experiment and its "
                "checkpoint"
            )
    references = [Variant("reference", config) for config in reference[:1]]
    metrics = metrics_of_table([*chosen, *references], options.metrics)
    rows: list[dict[str, str | float]] = []
    failed: list[str] = []
    # The reference comes first, so that a mistake in it is reported before anything is trained.
    for variant in references:
        checkpoint = reference[1]
        # The run folder of a checkpoint has files that some metrics need.
        run = checkpoint.parent.parent
        sys.stderr.write(f"evaluating {variant.name}\n")
        rows.append(judge(variant, run, checkpoint, options.steps, metrics))
    for seed in options.seeds:
        for variant in chosen:
            folder = folder_of(options.out, variant, seed)
            try:
                diverged_at = train_variant(variant, seed, folder)
                if diverged_at is None:
                    last = folder / "checkpoints" / "last.ckpt"
                    sys.stderr.write(f"evaluating {variant.name}, seed {seed}\n")
                    rows.append(judge(variant, folder, last, options.steps, metrics))
                else:
                    rows.append({"model": variant.name, "diverged at step": str(diverged_at)})
            except ValueError as error:  # for example missing weights; the other variants continue
                failed.append(f"{folder}: {one_line(error)}")
    sys.stdout.write(write_table(rows, options.out, "model") if rows else "")
    draw_curves(options.out, chosen, options.seeds, metrics)
    sys.stdout.writelines(f"failed: {folder}\n" for folder in failed)
    return SOME_FAILED if failed else DONE
