"""The command line of a benchmark that trains an experiment: `python -m MODULE [FILE.yaml]`."""

import argparse
import sys
from collections.abc import Callable

from lsr.errors import BAD_USAGE, INTERRUPTED, one_line
from lsr.training.sigterm import interruptions_raised


def run_benchmark(measure: Callable[[str], int], module: str, description: str | None) -> int:
    """Read the command line and run a benchmark; a mistake of the user is one line.

    Args:
        measure: The benchmark: its argument is the YAML file of an experiment, its result the exit
            code.
        module: Name of the module that is run.
        description: First paragraph of `--help`.

    Returns:
        The exit code: `BAD_USAGE` if the file is missing or is no experiment, `INTERRUPTED` after
        Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument(
        "experiment",
        nargs="?",
        default="experiments/tiny/stage1.yaml",
        metavar="EXPERIMENT.yaml",
        help="experiment to train (default %(default)s)",
    )
    experiment = parser.parse_args().experiment
    try:
        with interruptions_raised():
            return measure(experiment)
    except ValueError as error:
        sys.stderr.write(f"{parser.prog}: {experiment}: {one_line(error)}\n")
        return BAD_USAGE
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog}: interrupted\n")
        return INTERRUPTED
