"""`lsr shard`: copy a folder of photographs into WebDataset tar shards with an index.

Shards are for data sets that have too many files for a folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from lsr.commands.option_parser import OptionParser
from lsr.commands.out_option import check_out_folder
from lsr.errors import DONE, SOME_FAILED


def parser() -> OptionParser:
    """Return the parser of the command line."""
    parser = OptionParser(
        prog="lsr shard",
        description="Copy the photographs of a folder, byte for byte, into WebDataset tar shards "
        "with an index. Tags come from tags.jsonl in the folder, with lines such as "
        '{"file": "sea/a.png", "tags": ["sea", "pier"]}; a photograph a.jpg that is not listed '
        "there has the comma-separated tags in a.txt or a.caption next to it. A run that was "
        "stopped is continued by the same command. Exit code 1: some photographs cannot be read; "
        "each is named, and all others are copied.",
        examples=[
            "lsr shard photos --out shards",
            "lsr shard photos --out shards --max-mib 1024",
        ],
    )
    parser.add_argument(
        "src", type=Path, metavar="DIR", help="folder of photographs, searched recursively"
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="OUT",
        help="folder for shard-000000.tar ... and index.npz",
    )
    parser.add_argument(
        "--max-mib",
        type=float,
        default=256.0,
        metavar="MIB",
        help="largest size of a shard in MiB (default 256)",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    options = parser().parse_args(arguments[1:])

    from lsr.datasets.shards.writer import write_shards

    if not options.max_mib > 0:
        raise ValueError(f"--max-mib must be above 0, not {options.max_mib:g}")
    check_out_folder(options.out)
    try:
        number, failed, tables = write_shards(options.src, options.out, options.max_mib * 2**20)
    except OSError as error:
        raise ValueError(
            f"{error.filename or options.out}: {error.strerror}; run the same command again to "
            "continue"
        ) from error
    size = sum(table.bytes for table in tables) / 2**20
    sys.stdout.write(
        f"{number} photographs, {size:,.1f} MiB in {len(tables)} shards in {options.out}\n"
    )
    if failed:
        sys.stdout.write(f"photographs left out because they cannot be read: {len(failed)}\n")
    return SOME_FAILED if failed else DONE
