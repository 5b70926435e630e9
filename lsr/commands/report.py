"""`lsr report`: write one HTML file about runs and evaluations."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lsr.commands.option_parser import OptionParser
from lsr.errors import DONE
from lsr.files import check_folder


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr report",
        description="Write the results of runs and evaluations to one HTML file: the knee, or why "
        "there is none, curves, pictures, cost and settings. The file needs no network and no "
        "server. Several runs are compared. `lsr fit` and `lsr eval` write the report of their own "
        "folder when they end.",
        examples=[
            "lsr report runs/tiny/stage1",
            "lsr report runs/tiny/stage1 runs/tiny/stage2 --out both.html",
        ],
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a run, of an evaluation (lsr eval --out), or of both",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.html",
        help="file to write (default report.html in the first folder)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run `lsr report` and return the exit code."""
    options = parser().parse_args(arguments[1:])
    for folder in options.folders:
        check_folder(folder)
    if options.out is not None and options.out.suffix not in (".html", ".htm"):
        raise ValueError(f"--out {options.out}: the name of the report must end in .html")
    from lsr.report.document import REPORT, write_report

    target = options.out or options.folders[0] / REPORT
    try:
        write_report(options.folders, target)
    except OSError as error:
        raise ValueError(str(error)) from error
    sys.stdout.write(f"{target}\n")
    return DONE
