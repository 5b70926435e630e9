"""Draw the knee: every metric on the scale of its own gain, and the verdict.

The headline, the curves and the marks are large enough to be read in a picture 200 pixels wide.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.figures import COLOURS, GREY, INK, RED, hide_top_and_right, new_figure
from lsr.knee.metric_curve import normalise_metric
from lsr.knee.strips import STRIP, draw_strips
from lsr.knee.verdict import KneeVerdict, describe_interval, in_percent
from lsr.knee.words import describe_remaining, headline
from lsr.runs.history import Validation

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


_MARGIN = 0.15
"""Room above and below the lines, as a fraction of their range; points beyond it are cut off."""


def draw_knee(
    history: Sequence[Validation], verdict: KneeVerdict, directions: Mapping[str, str]
) -> Figure:
    """Draw the validation curves of a run with its knee or its candidate.

    The function is safe in any thread: the figure does not use pyplot.

    Args:
        history: The validations so far, by increasing step.
        verdict: The newest verdict of the detector.
        directions: Direction of each metric, `"max"` or `"min"`.

    Returns:
        A figure of 7.5 x 5.4 inches on an Agg canvas.
    """
    figure = new_figure(7.5, 5.4, dpi=150)
    axes = figure.add_subplot()
    drawn = [
        _draw_metric(axes, history, verdict, name, 1 if way == "max" else -1, i)
        for i, (name, way) in enumerate(directions.items())
    ]
    metrics = [line for line in drawn if line is not None]
    _label(axes, metrics)
    lines = metrics + _draw_verdict(axes, verdict)
    strips = draw_strips(axes, history)
    _write_words(figure, verdict)
    # Margins are set by hand: a layout engine takes longer than the whole drawing.
    columns = 3 if max((len(str(line.get_label())) for line in lines), default=0) < 36 else 2
    text = _write_remaining(figure, verdict)
    bottom = text + 0.1 + 0.035 * -(-len(lines) // columns)
    top_of_strips = bottom + (STRIP + 0.02) * len(strips)
    figure.subplots_adjust(left=0.085, right=0.97, bottom=top_of_strips, top=0.81)
    for number, strip in enumerate(reversed(strips)):
        strip.set_position((0.085, bottom + (STRIP + 0.02) * number, 0.885, STRIP))
    if lines:
        figure.legend(
            handles=lines,
            loc="lower center",
            bbox_to_anchor=(0.5, text),
            ncols=columns,
            frameon=False,
            fontsize=8.5,
        )
    return figure


def _write_words(figure: Figure, verdict: KneeVerdict) -> None:
    """Write the headline, which a thumbnail shows as well, and the reason below it."""
    colour = RED if verdict.diverged else INK
    figure.text(0.5, 0.985, headline(verdict), ha="center", va="top", fontsize=22, color=colour)
    words = verdict.creeping or verdict.reason
    figure.text(
        0.5, 0.895, textwrap.fill(words, 100), ha="center", va="top", fontsize=9.5, color=INK
    )


def _write_remaining(figure: Figure, verdict: KneeVerdict) -> float:
    """Write what is still to come at the bottom, and return the height that this takes."""
    lines = describe_remaining(verdict)
    if not lines:
        return 0.0
    figure.text(
        0.02, 0.012, "\n".join(lines), va="bottom", fontsize=7.5, color=GREY, linespacing=1.3
    )
    return 0.015 + 0.025 * len(lines)


def _draw_metric(
    axes: Axes,
    history: Sequence[Validation],
    verdict: KneeVerdict,
    name: str,
    sign: int,
    index: int,
) -> Line2D | None:
    """Draw points, smoothed line and noise band of one metric, and return its line."""
    record = verdict.per_metric[name]
    abstains = record["gain"] is not None and not record["informative"]
    curve = normalise_metric(history, name, sign, verdict, abstains)
    if curve is None:
        return None
    colour = COLOURS[index % len(COLOURS)]
    label = name + (" (lower is better)" if sign < 0 else "") + (" (abstains)" if abstains else "")
    axes.plot(
        curve.steps,
        curve.points,
        ".",
        color=colour,
        alpha=0.5,
        markersize=4.5,
        markeredgewidth=0,
        zorder=3,
    )
    if abstains:
        return axes.plot(
            curve.steps,
            curve.smooth,
            color=colour,
            linewidth=0.9,
            linestyle=(0, (6, 2)),
            zorder=3,
            label=label,
        )[0]
    # The thick line starts with the rise: an early bump may be higher than the whole gain.
    axes.plot(
        curve.steps[: curve.base + 1],
        curve.smooth[: curve.base + 1],
        color=colour,
        linewidth=0.9,
        zorder=3,
    )
    steps, smooth, noise = (x[curve.base :] for x in (curve.steps, curve.smooth, curve.noise))
    axes.fill_between(
        steps, smooth - noise, smooth + noise, color=colour, alpha=0.16, linewidth=0, zorder=2
    )
    style = "-" if index < len(COLOURS) else "-."
    return axes.plot(
        steps,
        smooth,
        style,
        color=colour,
        linewidth=2.4,
        zorder=4,
        label=label,
    )[0]


def _draw_verdict(axes: Axes, verdict: KneeVerdict) -> list[Artist]:
    """Draw interval, knee or candidate, confirmation and divergence.

    Returns:
        The marks, whose labels name the steps.
    """
    marks: list[Artist] = []

    def mark(step: int, words: str, style: str, colour: str = INK, width: float = 2.4) -> None:
        marks.append(
            axes.axvline(
                step, color=colour, linestyle=style, linewidth=width, zorder=5, label=words
            )
        )

    if verdict.knee_step is not None:
        mark(verdict.knee_step, f"knee: step {verdict.knee_step:,}", "-")
        mark(verdict.step, f"confirmed at step {verdict.step:,}", ":", width=1.3)
    elif verdict.candidate_step is not None:
        likely = f"step {verdict.candidate_step:,} ({in_percent(verdict.confidence)} likely)"
        if verdict.provisional_step is None:
            mark(verdict.candidate_step, f"best candidate: {likely}", "--", GREY, 1.0)
        else:
            mark(verdict.candidate_step, f"provisional knee: {likely}", "--")
    marks += _draw_interval(axes, verdict)
    if verdict.diverged:
        mark(verdict.step, f"diverged at step {verdict.step:,}", "-", RED)
    return marks


def _draw_interval(axes: Axes, verdict: KneeVerdict) -> list[Artist]:
    """Shade the part of the interval that lies within the run."""
    first, last = axes.get_xlim()
    low, high = verdict.interval or (None, None)
    if low is None or low >= last:
        return []
    span = axes.axvspan(
        low,
        last if high is None else min(high, last),
        color=INK,
        alpha=0.08,
        linewidth=0,
        zorder=1,
        label=describe_interval(verdict.interval or (None, None)),
    )
    axes.set_xlim(first, last)
    return [span]


def _label(axes: Axes, metrics: Sequence[Line2D]) -> None:
    """Label the axes and limit the vertical range to that of the metrics' lines."""
    if metrics:
        heights = np.concatenate([[0.0, 1.0], *(np.asarray(line.get_ydata()) for line in metrics)])
        low, high = axes.get_ylim()
        margin = _MARGIN * np.ptp(heights)
        axes.set_ylim(max(low, heights.min() - margin), min(high, heights.max() + margin))
    axes.set_xlabel("training step", fontsize=9)
    axes.set_ylabel("share of each metric's own gain", fontsize=9)
    axes.locator_params(axis="x", integer=True)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    hide_top_and_right(axes)
