"""Figures of matplotlib: the colours, an empty figure, clean axes, and writing a PNG file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lsr.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of curves: the palette of Okabe and Ito, which colour-blind readers can tell apart."""

GREY = "#858585"
"""Colour of secondary lines, such as baselines."""

INK = "#222222"
"""Colour of text and of vertical marks."""

RED = "#C00000"
"""Colour of marks that warn, such as divergence."""


def new_figure(
    width: float, height: float, dpi: int, layout: Literal["constrained"] | None = None
) -> Figure:
    """Return an empty figure of `width` x `height` inches on an Agg canvas.

    It does not use pyplot, so any thread may draw on it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def hide_top_and_right(axes: Axes) -> None:
    """Hide the two borders of the axes that carry no ticks."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure to a PNG file atomically."""
    with atomic_path(path) as temporary:
        # Fast instead of small: callbacks draw figures during training.
        figure.savefig(temporary, format="png", pil_kwargs={"compress_level": 3})
