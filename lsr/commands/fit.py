"""`lsr fit`, `validate`, `test` and `predict`: their short help; `lsr.training.cli` runs them.

The full help lists the settings of the classes in an experiment. It takes seconds, because these
classes and Lightning have to be imported.
"""

from collections.abc import Sequence
from pathlib import Path

from lsr.commands.option_parser import OptionParser


def parser() -> OptionParser:
    """Return a parser of the options that matter most; there is one for every setting."""
    parser = OptionParser(
        prog="lsr fit|validate|test|predict",
        description="fit trains the model of an experiment, which is a YAML file. The others use a "
        "checkpoint: validate scores it on the validation photographs, test on the test "
        "photographs, and predict super-resolves the test photographs. Every setting of the YAML "
        "file is an option too. Here are the most frequent ones; `lsr fit --config FILE --help` "
        "lists all. Exit code 3: training diverged.",
        examples=[
            "lsr fit --config experiments/tiny/stage1.yaml --ckpt_path last    # begin or continue",
            "lsr fit --config experiments/tiny/stage1.yaml --print_config",
            "lsr predict --config experiments/tiny/stage1.yaml --ckpt_path best",
        ],
    )
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        metavar="FILE",
        help="YAML file of the experiment; a second one changes settings of the first",
    )
    parser.add_argument(
        "--ckpt_path",
        metavar="last|best|FILE",
        help="checkpoint that fit continues from, or that the others use: last is the newest one, "
        "best the weights of the published knee (not for fit)",
    )
    parser.add_argument(
        "--print_config", action="store_true", help="print all settings, and do nothing else"
    )
    _add_settings(parser)
    return parser


def _add_settings(parser: OptionParser) -> None:
    """Add those settings of the YAML file that are changed most often."""
    parser.add_argument(
        "--trainer.default_root_dir",
        type=Path,
        metavar="DIR",
        help="the run folder, for all that the run writes",
    )
    parser.add_argument(
        "--trainer.max_steps", type=int, metavar="N", help="number of optimiser steps"
    )
    parser.add_argument(
        "--trainer.devices", type=int, metavar="N", help="number of GPUs, or of processes on a CPU"
    )
    parser.add_argument(
        "--data.init_args.train", metavar="['DIR']", help="folders of training photographs"
    )
    parser.add_argument(
        "--data.init_args.batch_size", type=int, metavar="N", help="samples per GPU and step"
    )
    parser.add_argument(
        "--model.init_from",
        type=Path,
        metavar="PATH",
        help="model file from whose weights a new run starts",
    )
    parser.add_argument(
        "--may_differ",
        metavar="[NAME]",
        help="settings that may differ from those of the run that is continued, although this "
        "changes its samples, such as [global_batch, data]",
    )


def main(arguments: Sequence[str]) -> int:
    """Run the verb and return its exit code."""
    if arguments[1:] in (["-h"], ["--help"]):
        parser().parse_args(arguments[1:])
    from lsr.training.cli import main as run

    return run(arguments)
