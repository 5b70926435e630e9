"""Draw the strips below the curves of a knee: the training loss, and the headroom of float16."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.figures import GREY, RED, hide_top_and_right
from lsr.knee.signal import SMOOTHING, running_median
from lsr.runs.history import Validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRIP = 0.1
"""Height of a strip, as a fraction of the figure."""

_DECADE = 10.0


def draw_strips(axes: Axes, history: Sequence[Validation]) -> list[Axes]:
    """Draw what is known of loss and headroom below the curves, with the same horizontal axis.

    The label of this axis moves from the curves to the lowest strip.

    Args:
        axes: The axes of the curves.
        history: The validations so far, by increasing step.

    Returns:
        The strips from the top. Their places are up to the caller.
    """
    loss = _finite([(v.step, v.loss) for v in history])
    headroom = _finite([(v.step, v.headroom) for v in history])
    strips = [_draw_loss(axes, *loss)] if loss else []
    strips += [_draw_headroom(axes, *headroom)] if headroom else []
    if strips:
        strips[-1].set_xlabel(axes.get_xlabel(), fontsize=9)
        for above in (axes, *strips[:-1]):
            above.set_xlabel("")
            above.tick_params(labelbottom=False)
    return strips


def _finite(
    found: Sequence[tuple[int, float | None]],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return steps and values of those that are finite; None if there are fewer than two."""
    known = [(step, y) for step, y in found if y is not None and math.isfinite(y)]
    if len(known) < 2:
        return None
    steps, values = np.array(known, dtype=np.float64).T
    return steps, values


def _strip(axes: Axes, name: str) -> Axes:
    strip = axes.figure.add_axes((0.1, 0.1, 0.8, STRIP), sharex=axes)
    strip.set_ylabel(name, fontsize=8, color=GREY)
    strip.tick_params(labelsize=8)
    hide_top_and_right(strip)
    return strip


def _draw_loss(axes: Axes, steps: np.ndarray, losses: np.ndarray) -> Axes:
    """Draw the loss. Its axis is logarithmic if it is positive and spans a factor of ten."""
    strip = _strip(axes, "loss")
    if losses.min() > 0 and losses.max() >= _DECADE * losses.min():
        strip.set_yscale("log")
        strip.minorticks_off()
    smooth = running_median(losses, max(1, round(SMOOTHING * len(losses))))
    strip.plot(steps, losses, ".", color=GREY, markersize=2, markeredgewidth=0)
    strip.plot(steps, smooth, color=GREY, linewidth=1.2, label="training loss")
    strip.set_yticks([])
    return strip


def _draw_headroom(axes: Axes, steps: np.ndarray, headroom: np.ndarray) -> Axes:
    """Draw the headroom on a logarithmic axis, and the line below which float16 overflows."""
    strip = _strip(axes, "float16\nheadroom")
    strip.set_yscale("log")
    strip.minorticks_off()
    strip.plot(steps, headroom, color=GREY, linewidth=1.2, label="float16 headroom")
    strip.axhline(1.0, color=RED, linewidth=0.8)
    low, high = min(0.5, headroom.min()), headroom.max()
    strip.set_ylim(low / 1.2, 1.5 * high)
    strip.set_yticks([1.0], ["1"])
    return strip
