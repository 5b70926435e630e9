"""Draw the validation curves of several runs, averaged over the seeds of each variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lsr.figures import COLOURS, GREY, hide_top_and_right, new_figure
from lsr.runs.history import Scalars

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (*COLOURS, GREY)
_STYLES = ("-", (0, (4, 2)), (0, (1, 1)))
_COLUMNS = 2


def draw_runs(
    runs: Mapping[str, Sequence[Scalars]],
    metrics: Sequence[str],
    diverged: Mapping[str, Sequence[int]],
) -> Figure:
    """Draw each metric over the training steps, for all variants of an experiment.

    Each seed of a variant is a thin line. Their mean is a thick line; it has only the steps that
    all seeds logged. The function is safe in any thread: the figure does not use pyplot.

    Args:
        runs: For each variant the scalars that its seeds logged.
        metrics: Names of the metrics to draw. The axes of a metric that no run logged stay empty.
        diverged: For each variant the steps at which seeds diverged; a cross on the axis marks
            them.

    Returns:
        A figure on an Agg canvas, with two axes in a row and one legend.
    """
    rows = math.ceil(len(metrics) / _COLUMNS)
    height = 0.6 + 0.2 * math.ceil(len(runs) / _COLUMNS) + 2.6 * rows
    figure = new_figure(9.0, height, dpi=120, layout="constrained")
    every = np.atleast_1d(figure.subplots(rows, min(_COLUMNS, len(metrics)), squeeze=False)).ravel()
    for axes, metric in zip(every, metrics, strict=False):
        for number, (name, seeds) in enumerate(runs.items()):
            curves = [scalars[metric] for scalars in seeds if metric in scalars]
            _draw_variant(axes, name, curves, diverged.get(name, ()), _line_style(number))
        axes.set_ylabel(metric)
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        hide_top_and_right(axes)
    for axes in every[len(metrics) :]:
        axes.set_axis_off()
    handles, labels = every[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", frameon=False, fontsize=9, ncols=_COLUMNS
    )
    return figure


def _line_style(number: int) -> dict[str, Any]:
    """Return colour and line style of a variant; the style changes when all colours are used."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _STYLES[number // len(_COLOURS) % len(_STYLES)],
    }


def _draw_variant(
    axes: Axes,
    name: str,
    curves: Sequence[Mapping[int, float]],
    diverged: Sequence[int],
    style: Mapping[str, Any],
) -> None:
    """Draw one metric of one variant: its seeds, their mean and the steps of divergence."""
    for curve in curves if len(curves) > 1 else ():
        axes.plot(list(curve), list(curve.values()), linewidth=0.7, alpha=0.5, **style)
    common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    means = [float(np.mean([curve[step] for curve in curves])) for step in common]
    axes.plot(common, means, linewidth=1.8, label=name, **style)
    for step in diverged:
        axes.plot(step, 0.04, "x", color=style["color"], transform=axes.get_xaxis_transform())
