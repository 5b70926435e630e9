"""Draw the knee: every metric on the scale of its own gain, the training loss and the verdict."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsr.figures import COLOURS, GREY, INK, RED, hide_top_and_right, new_figure
from lsr.knee.signal import SMOOTHING, Array, draw_up, local_noise, running_median
from lsr.knee.verdict import KneeVerdict
from lsr.runs.history import Validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


_DECADE = 10.0
_MARGIN = 0.3
"""Room above and below the lines, as a fraction of their range; points beyond it are cut off."""


@dataclasses.dataclass(frozen=True)
class _Curve:
    """One metric in units of its own gain: 0 where its rise starts, 1 at its top."""

    steps: Array
    points: Array
    smooth: Array
    noise: Array


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
        A figure of 7.5 x 4.5 inches on an Agg canvas.
    """
    figure = new_figure(7.5, 4.5, dpi=150)
    axes = figure.add_subplot()
    drawn = [
        _draw_metric(axes, history, verdict, name, 1 if way == "max" else -1, i)
        for i, (name, way) in enumerate(directions.items())
    ]
    metrics = [line for line in drawn if line is not None]
    _label(axes, metrics)
    lines = metrics + _draw_loss(axes, history) + _draw_verdict(axes, verdict)
    figure.text(
        0.5, 0.975, textwrap.fill(verdict.reason, 95), ha="center", va="top", fontsize=10, color=INK
    )
    # Margins are set by hand: a layout engine takes longer than the whole drawing.
    columns = 3 if max((len(str(line.get_label())) for line in lines), default=0) < 36 else 2
    figure.subplots_adjust(
        left=0.085, right=0.915, bottom=0.13 + 0.04 * -(-len(lines) // columns), top=0.875
    )
    if lines:
        figure.legend(handles=lines, loc="lower center", ncols=columns, frameon=False, fontsize=8)
    return figure


def _normalise(
    history: Sequence[Validation], name: str, sign: int, verdict: KneeVerdict, abstains: bool
) -> _Curve | None:
    """Normalise a metric to the gain that was judged.

    Args:
        history: The validations so far.
        name: Name of the metric.
        sign: 1 if more is better, else -1.
        verdict: The newest verdict. Values after its step do not change the gain, so that a curve
            stays where it was when the knee was confirmed.
        abstains: Whether the metric abstains; then its scale is its whole range.

    Returns:
        The curve, or None if the metric has fewer than two finite values.
    """
    found = [
        (v.step, sign * v.values[name])
        for v in history
        if math.isfinite(v.values.get(name, math.nan))
    ]
    if len(found) < 2:
        return None
    steps, values = np.array(found, dtype=np.float64).T
    half = max(1, round(SMOOTHING * len(values))) if len(values) >= 5 else 0
    smooth = running_median(values, half)
    judged = smooth[: max(2, int(np.searchsorted(steps, verdict.step, side="right")))]
    base, top = draw_up(judged)
    start = judged[base]
    gain = judged[top] - judged[base]
    if gain <= 0 or abstains:
        start = values.min()
        gain = np.ptp(values) or 1.0
    noise = local_noise(steps, values) if len(values) > 2 else np.zeros(len(values))
    rounded = _running_mean(smooth, half)
    return _Curve(steps, (values - start) / gain, (rounded - start) / gain, noise / gain)


def _running_mean(values: Array, half: int) -> Array:
    """Return the mean over up to `half` values on each side, which smooths a running median.

    Near the start both sides of the window shrink equally, because the curve is steep there. Near
    the end only the right side shrinks: equal sides would leave the last values unsmoothed.
    """
    index = np.arange(len(values))
    left = np.minimum(index, half)
    right = np.minimum(left, index[::-1])
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[index + right + 1] - total[index - left]) / (left + right + 1)


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
    curve = _normalise(history, name, sign, verdict, abstains)
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
    low, high = curve.smooth - curve.noise, curve.smooth + curve.noise
    axes.fill_between(curve.steps, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)
    style = "-" if index < len(COLOURS) else "-."
    return axes.plot(
        curve.steps, curve.smooth, style, color=colour, linewidth=1.8, zorder=4, label=label
    )[0]


def _draw_loss(axes: Axes, history: Sequence[Validation]) -> list[Line2D]:
    """Draw the training loss on a second axis, and return its line if there is a loss.

    The axis is logarithmic if the loss is positive and spans a factor of ten.
    """
    found = [(v.step, v.loss) for v in history if v.loss is not None and math.isfinite(v.loss)]
    if len(found) < 2:
        return []
    steps, losses = zip(*found, strict=True)
    loss_axes = axes.twinx()
    if min(losses) > 0 and max(losses) >= _DECADE * min(losses):
        loss_axes.set_yscale("log")
        loss_axes.minorticks_off()
    loss_axes.yaxis.set_major_formatter("{x:g}")
    axes.set_zorder(loss_axes.get_zorder() + 1)
    axes.patch.set_visible(False)
    loss_axes.set_ylabel("training loss", fontsize=9, color=GREY)
    loss_axes.tick_params(labelsize=8, colors=GREY)
    for side, spine in loss_axes.spines.items():
        spine.set_visible(side == "right")
        spine.set_color(GREY)
    return loss_axes.plot(steps, losses, color=GREY, linewidth=1.0, label="training loss")


def _draw_verdict(axes: Axes, verdict: KneeVerdict) -> list[Line2D]:
    """Draw the steps of knee or candidate, confirmation and divergence as vertical lines.

    Returns:
        The lines, whose labels name the step.
    """
    lines: list[Line2D] = []

    def mark(step: int, words: str, style: str, colour: str = INK) -> None:
        lines.append(
            axes.axvline(step, color=colour, linestyle=style, linewidth=1.3, zorder=5, label=words)
        )

    if verdict.knee_step is not None:
        mark(verdict.knee_step, f"knee: step {verdict.knee_step:,}", "-")
        mark(verdict.step, f"confirmed at step {verdict.step:,}", ":")
    elif verdict.candidate_step is not None:
        mark(
            verdict.candidate_step,
            f"candidate: step {verdict.candidate_step:,} ({verdict.confidence:.0%} sure)",
            "--",
        )
    if verdict.diverged:
        mark(verdict.step, f"diverged at step {verdict.step:,}", "-", RED)
    return lines


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
