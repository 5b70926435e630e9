"""Apply the layers of a network to a feature map in bands of rows, with the result of the whole.

The bands stream through the layers. Each layer keeps only the rows that its next outputs reach,
so memory grows with the width of the map and not with its height. `map` and `filter` connect the
layers because they hold no band while the layers before or after them work; a `for` loop would.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeGuard

import torch
from torch import Tensor

Bands = Iterator[Tensor]
"""Blocks (1, C, r, W) of a feature map from top to bottom, r >= 1."""

Layer = Callable[[Tensor], Tensor]
"""Function from maps (1, C, r, W) to maps (1, C', factor r, factor W).

It treats what lies outside its input as the published network treats the outside of a picture.
"""


def in_bands(bands: Bands, layer: Layer, reach: int, height: int, factor: int = 1) -> Bands:
    """Apply a layer to a map in bands; the concatenated result is that of the whole map.

    The layer sees every band together with the rows of its neighbours that it reaches. Where the
    map ends, the input of the layer ends too, so that the layer itself pads it there.

    Args:
        bands: The map.
        layer: The layer.
        reach: Number of input rows above and below a row that its output depends on.
        height: Rows of the map.
        factor: Output rows per input row.

    Returns:
        Bands of the result. They lag behind the input by `reach` rows until the map ends.
    """
    return filter(_is_band, map(_BandedLayer(layer, reach, height, factor), bands))


def _is_band(band: Tensor | None) -> TypeGuard[Tensor]:
    return band is not None


class _BandedLayer:
    """A layer that takes one band after the other, see `in_bands`."""

    def __init__(self, layer: Layer, reach: int, height: int, factor: int) -> None:
        self._layer = layer
        self._reach = reach
        self._height = height
        self._factor = factor
        self._held: Tensor | None = None  # the last rows of the input, which the next outputs need
        self._received = 0  # rows of the input so far
        self._done = 0  # rows of the input whose outputs are done

    def __call__(self, band: Tensor) -> Tensor | None:
        """Return the output rows that this band completes, or None if there are none yet."""
        window = band if self._held is None else torch.cat([self._held, band], dim=2)
        self._received += band.shape[2]
        top = self._received - window.shape[2]
        is_last = self._received == self._height
        first, last = self._done, self._received - (0 if is_last else self._reach)
        self._done = max(first, last)
        # A copy, because a view of a few rows would keep the whole window in memory.
        self._held = window[:, :, max(0, self._done - self._reach - top) :].clone()
        if last <= first:
            return None
        rows = slice(self._factor * (first - top), self._factor * (last - top))
        return self._layer(window)[:, :, rows]


def regroup(bands: Bands, rows: int) -> Bands:
    """Join and cut bands so that they have at most `rows` rows, and not many fewer."""
    held: list[Tensor] = []
    for band in bands:
        held.append(band)
        del band  # while the layers before or after work, this frame must not hold it
        if sum(each.shape[2] for each in held) >= rows:
            yield from _cut(held, rows)
    if held:
        yield from _cut(held, rows)


def _cut(held: list[Tensor], rows: int) -> Bands:
    """Empty the list and yield its rows in bands of equal height, at most `rows`."""
    joined = torch.cat(held, dim=2) if len(held) > 1 else held[0]
    held.clear()
    pieces = deque(joined.chunk(-(-joined.shape[2] // rows), dim=2))
    del joined
    return drain(pieces)


def drain(bands: deque[Tensor]) -> Bands:
    """Take the bands out of the queue one by one, so that each is freed when it is used."""
    while bands:
        yield bands.popleft()
