"""The option `--max-pixels` of the commands that read photographs."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def add_max_pixels_option(parser: Any) -> None:
    """Add the option to a parser or a group of options."""
    parser.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="most pixels of a photograph; a larger one is refused, because the header of a small "
        "file may claim any size (default 178956970)",
    )


@contextmanager
def pixel_limit_of(options: argparse.Namespace) -> Iterator[None]:
    """Use the limit of the options in this block, and in processes that start in it.

    Raises:
        ValueError: If the limit is below 1.
    """
    from lsr.images.opening import MAX_PIXELS

    if options.max_pixels is None:
        yield
        return
    if options.max_pixels < 1:
        raise ValueError(f"--max-pixels must be at least 1, not {options.max_pixels}")
    before = os.environ.get(MAX_PIXELS)
    os.environ[MAX_PIXELS] = str(options.max_pixels)
    try:
        yield
    finally:
        del os.environ[MAX_PIXELS]
        if before is not None:
            os.environ[MAX_PIXELS] = before
