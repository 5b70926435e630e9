"""The option `--memory` of the commands that sample pictures."""

import argparse
import re

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
"""Bytes per unit."""


def add_memory_option(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add `--memory`, and `--tile`, which is no longer an option but answered."""
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory for one picture, in addition to the picture itself, such as 2GiB or 500MB; it "
        "changes the time, never the result (default: half of the free memory)",
    )
    parser.add_argument("--tile", help=argparse.SUPPRESS)


def memory_of(options: argparse.Namespace) -> int | None:
    """Return the memory on a parsed command line in bytes, None if there is none.

    Raises:
        ValueError: If the memory is no size, or tiles are asked for.
    """
    if options.tile is not None:
        raise ValueError(
            "--tile is gone, pictures are not cut into tiles any more; to bound the memory, use "
            "--memory, for example --memory 2GiB"
        )
    if options.memory is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(|K|M|G|Ki|Mi|Gi)B?", options.memory)
    if match is None:
        raise ValueError(f"--memory {options.memory!r} is no size such as 2GiB or 500MB")
    return int(float(match[1]) * _UNITS[match[2]])
