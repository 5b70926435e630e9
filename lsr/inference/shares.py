"""Share photographs among processes: the largest one by one by all together, the others by size."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lsr.images import probe_or_one_pixel

Pair = tuple[Path, Path]
"""The file of a photograph, and the file of its result."""


class Shares(NamedTuple):
    """Who upscales which photographs.

    Attributes:
        together: Photographs that all processes upscale together, one after another.
        alone: For each process, the photographs that it upscales by itself.
    """

    together: list[Pair]
    alone: list[list[Pair]]


def shares(pairs: Sequence[Pair], count: int, is_large: Callable[[int, int], bool]) -> Shares:
    """Share photographs among processes.

    Photographs that are too large for one process are upscaled by all of them together. Each of the
    others, from the largest to the smallest, goes to the process that has the fewest pixels so far.

    Args:
        pairs: The photographs.
        count: Number of processes.
        is_large: Function of height and width that returns whether a photograph is too large.
    """
    if count == 1:
        return Shares([], [list(pairs)])
    sizes = {pair: probe_or_one_pixel(pair[0]) for pair in pairs}
    together = [pair for pair, (width, height) in sizes.items() if is_large(height, width)]
    rest = sizes.keys() - together
    pixels = [0] * count
    alone: list[list[Pair]] = [[] for _ in pixels]
    for pair in sorted(rest, key=lambda pair: (-sizes[pair][0] * sizes[pair][1], pair)):
        least = pixels.index(min(pixels))
        alone[least].append(pair)
        pixels[least] += sizes[pair][0] * sizes[pair][1]
    return Shares(together, alone)
