"""The command line of `lsr knee`."""

from pathlib import Path

from lsr.commands.option_parser import OptionParser

LOSSES = ("train/loss", "train_loss", "loss")
"""Names of the training loss that are looked for in a log."""

FIGURE = "knee.png"
"""Name of the figure in the folder of the log."""


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr knee",
        description="Find the knee in the log of a run: the step at which the fast improvement of "
        "the metrics ends. Print this step and the step at which the detector confirmed it, or the "
        "reason why there is no knee. The exit code is 0 in both cases.",
        examples=[
            "lsr knee runs/tiny/stage1 --compare",
            "lsr knee metrics.csv --metrics val/psnr_y:max,val/niqe:min --png",
            "lsr knee runs/tiny/stage1 --json",
        ],
    )
    parser.add_argument(
        "path",
        nargs="?",
        type=Path,
        metavar="PATH",
        help="a run folder, a TensorBoard event file, or a CSV file with a step column",
    )
    parser.add_argument(
        "--metrics",
        metavar="a:max,b:min",
        help="metrics, and whether a larger (max) or a smaller (min) value is better (default: all "
        "in the log whose names are known, such as psnr)",
    )
    parser.add_argument(
        "--loss",
        metavar="NAME",
        help=f"name of the training loss (default: the first of {', '.join(LOSSES)} in the log)",
    )
    parser.add_argument(
        "--min-step",
        type=int,
        default=0,
        metavar="N",
        help="first step at which a knee may be confirmed (default 0)",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also report the steps that early stopping and the best checkpoint pick",
    )
    parser.add_argument(
        "--leave-one-out",
        action="store_true",
        help="also find the knee without each metric in turn",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of text"
    )
    parser.add_argument(
        "--png",
        nargs="?",
        const="",
        metavar="FILE",
        help=f"write a figure of the curves (default {FIGURE} in the folder of the log)",
    )
    parser.add_argument(
        "--benchmark",
        action="store_true",
        help="instead of reading a log, score the detector and other rules on simulated runs",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the simulated runs (default 0)"
    )
    parser.add_argument(
        "--curves",
        type=int,
        default=200,
        metavar="N",
        help="number of simulated runs (default 200)",
    )
    return parser
