"""The picture of several runs: how their validation went, seeds of one variant in one colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.figures import COLOURS, GREY, hide_top_and_right, new_figure
from lsr.runs.history import Scalars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (*COLOURS, GREY)
_STYLES = ("-", (0, (4, 2)), (0, (1, 1)))
_COLUMNS = 2


def draw_runs(runs: Mapping[str, Sequence[Scalars]], metrics: Sequence[str], diverged: Mapping[str, Sequence[int]]) -> Figure:
    """Draw each metric over the steps: of every variant its seeds, thin, and their mean at the steps that all of them have, thick.

    Safe in any thread: a figure of its own, no pyplot.

    Args:
        runs: What the seeds of a variant logged.
        metrics: Names of what is drawn; one that no run logged stays empty.
        diverged: The steps at which seeds of a variant diverged, marked by a cross on the axis.

    Returns:
        A figure with two axes side by side and a legend, on an Agg canvas.
    """
    rows = math.ceil(len(metrics) / _COLUMNS)
    height = 0.6 + 0.2 * math.ceil(len(runs) / _COLUMNS) + 2.6 * rows
    figure = new_figure(9.0, height, dpi=120, layout="constrained")
    every = np.atleast_1d(figure.subplots(rows, min(_COLUMNS, len(metrics)), squeeze=False)).ravel()
    for axes, metric in zip(every, metrics, strict=False):
        for number, (name, seeds) in enumerate(runs.items()):
            look = {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _STYLES[number // len(_COLOURS) % len(_STYLES)]}
            curves = [scalars[metric] for scalars in seeds if metric in scalars]
            for curve in curves if len(curves) > 1 else ():
                axes.plot(list(curve), list(curve.values()), linewidth=0.7, alpha=0.5, **look)
            common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
            means = [float(np.mean([curve[step] for curve in curves])) for step in common]
            axes.plot(common, means, linewidth=1.8, label=name, **look)
            for step in diverged.get(name, ()):
                axes.plot(step, 0.04, "x", color=look["color"], transform=axes.get_xaxis_transform())
        axes.set_ylabel(metric)
        axes.set_xlabel("step")
        axes.margins(x=0.02)
        hide_top_and_right(axes)
    for axes in every[len(metrics) :]:
        axes.set_axis_off()
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside upper center", frameon=False, fontsize=9, ncols=_COLUMNS)
    return figure
