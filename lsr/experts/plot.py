"""Draw the validation loss of the experts over the flow time, compared with that of the knee."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.figures import COLOURS, GREY, INK, hide_top_and_right, new_figure
from lsr.flow.timesteps import unshift_timesteps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE = COLOURS[0]
_ROOM_FOR_WORDS = 0.1
"""Width that a label needs, as a fraction of the axis; narrower experts get only their number."""
_TICKS = (0.0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)


def draw_loss_by_time(
    step: int,
    times: Sequence[float],
    losses: Sequence[float],
    knee_losses: Sequence[float],
    boundaries: Sequence[float],
    shift: float,
) -> Figure:
    """Draw the loss over the flow time, and its relative change from the knee.

    Where the change is below zero, an expert is better than the knee that it started from. The
    function is safe in any thread: the figure does not use pyplot.

    Args:
        step: The training step.
        times: Increasing times in [0, 1] before the shift. The axis is linear in them, and its
            labels are flow times (after the shift).
        losses: Loss of the experts at each time.
        knee_losses: Loss of the knee at each time.
        boundaries: Flow times that separate the experts.
        shift: Shift of the flow times.

    Returns:
        A figure of 7.5 x 5 inches on an Agg canvas.
    """
    import torch

    figure = new_figure(7.5, 5.0, dpi=120, layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    top.plot(times, knee_losses, color=GREY, linewidth=1.4, label="the knee")
    top.plot(times, losses, ".-", color=_BLUE, linewidth=1.6, label=f"the experts at step {step:,}")
    top.set_ylabel("validation loss")
    change = 100 * (np.asarray(losses) / np.asarray(knee_losses) - 1)
    bottom.axhline(0, color=GREY, linewidth=1.0)
    bottom.plot(times, change, ".-", color=_BLUE, linewidth=1.6)
    bottom.set_ylabel("change against the knee, %")
    bottom.set_xlabel("flow time t (evenly spaced before the shift); 0 is data, 1 is noise")
    edges = torch.tensor(list(boundaries), dtype=torch.float64)
    ends = [0.0, *unshift_timesteps(edges, shift).tolist(), 1.0]
    for axes in (top, bottom):
        for end in ends[1:-1]:
            axes.axvline(end, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        hide_top_and_right(axes)
        axes.margins(x=0)
        axes.set_xlim(0, 1)
    for i, (left, right) in enumerate(zip(ends, ends[1:], strict=False)):
        name = f"expert {i}" if right - left > _ROOM_FOR_WORDS else str(i)
        top.text(
            (left + right) / 2,
            1.02,
            name,
            ha="center",
            va="bottom",
            fontsize=9,
            transform=top.get_xaxis_transform(),
        )
    ticks = torch.tensor(_TICKS, dtype=torch.float64)
    bottom.set_xticks(unshift_timesteps(ticks, shift).tolist(), [f"{t:g}" for t in _TICKS])
    top.legend(frameon=False, fontsize=9, loc="best")
    return figure
