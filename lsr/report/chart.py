"""Charts as SVG in the page, drawn from numbers; colours come from the style of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lsr.report.axis import Axis, axis_of, tick_label
from lsr.report.markup import number, text

WIDTH = 400
"""Width of a chart in its own pixels. On a telephone it is shown at about this size."""

_HEIGHT = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 392, 8, 186

COLOURS = 6
"""Number of colours in the style of the page; further lines repeat them with other dashes."""

_DASHES = ("", "7 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: Name in the legend.
        points: Increasing x, and y; a y that is not finite leaves a gap.
        colour: Number of its colour and dashes.
        weight: "thin" for measured values that have a smoothed curve beside them, else "thick".
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    weight: Literal["thin", "thick"] = "thick"

    @property
    def finite(self) -> list[tuple[float, float]]:
        """Return the points whose y is finite."""
        return [point for point in self.points if math.isfinite(point[1])]


@dataclass(frozen=True)
class Mark:
    """Something that belongs to an x, a range of x, or a y.

    Attributes:
        kind: "knee", "confirmed", "candidate", "diverged", "border" or "limit", which is a y; or
            "interval", a range of x.
        words: Words in the legend; "" for none.
        at: Its place; the beginning of a range.
        end: The end of a range.
    """

    kind: Literal["knee", "confirmed", "candidate", "diverged", "border", "limit", "interval"]
    words: str
    at: float
    end: float = math.nan


@dataclass(frozen=True)
class Chart:
    """Curves over the same x.

    Attributes:
        title: What is drawn.
        lines: The curves, at least one.
        marks: What is marked.
        x_name: Name of the horizontal axis.
        x_range: Range of x that the axis shows at least.
        x_ticks: Places and labels of the horizontal ticks; None chooses round values.
        may_be_log: Whether the vertical axis may be logarithmic.
    """

    title: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    x_name: str = "step"
    x_range: tuple[float, float] | None = None
    x_ticks: Sequence[tuple[float, str]] | None = None
    may_be_log: bool = True


def draw(chart: Chart) -> str:
    """Return a figure: the SVG, whose label describes it in words, and the legend below it."""
    xs = [x for line in chart.lines for x, _ in line.points] + list(chart.x_range or ())
    xs += [mark.at for mark in chart.marks if mark.kind in ("knee", "diverged")]
    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    across = Axis(low, high if high > low else low + 1, _LEFT, _RIGHT)
    ys = [y for line in chart.lines for _, y in line.finite]
    ys += [mark.at for mark in chart.marks if mark.kind == "limit"] if ys else []
    up = axis_of(ys, _BOTTOM, _TOP, chart.may_be_log)
    inside = [*_grid(chart, across, up), *(_mark(mark, across, up) for mark in chart.marks)]
    inside += [_line(line, across, up) for line in chart.lines]
    label = text(describe(chart, up.is_log), 1500)
    return (
        f'<figure class="chart"><h4>{text(chart.title)}</h4>'
        f'<svg viewBox="0 0 {WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(inside)}</svg>{_legend(chart)}</figure>"
    )


def describe(chart: Chart, is_log: bool = False) -> str:
    """Return in words what a chart shows, for readers who do not see it."""
    parts = [f"{chart.title} over {chart.x_name}{', logarithmic' if is_log else ''}"]
    for line in chart.lines:
        known = line.finite
        if not known:
            parts.append(f"{line.name}: no finite value")
            continue
        (first, start), (last, end) = known[0], known[-1]
        values = [y for _, y in known]
        parts.append(
            f"{line.name}: from {number(start)} at {number(first)} to {number(end)} at "
            f"{number(last)}, lowest {number(min(values))}, highest {number(max(values))}"
        )
    parts += [mark.words for mark in chart.marks if mark.words]
    return "; ".join(parts)


def _grid(chart: Chart, across: Axis, up: Axis) -> list[str]:
    """Return lines and labels of the ticks, and the name of the horizontal axis."""
    parts = []
    for value in up.ticks():
        y = f"{up.place(value):.1f}"
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" class="y">{text(tick_label(value))}</text>')
    found = chart.x_ticks or [(value, tick_label(value)) for value in across.ticks(6)]
    for value, label in found:
        x = f"{across.place(value):.1f}"
        parts.append(f'<path class="tick" d="M{x} {_BOTTOM}v4"/>')
        parts.append(f'<text x="{x}" y="{_BOTTOM + 16}" class="x">{text(label)}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>')
    middle = (_LEFT + _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 4}" class="x">{text(chart.x_name)}</text>')
    return parts


def _line(line: Line, across: Axis, up: Axis) -> str:
    """Return the path of a curve; points without neighbours are dots."""
    path, pen, dots = [], "M", []
    points = list(line.points)
    for i, (x, y) in enumerate(points):
        if not math.isfinite(y):
            pen = "M"
            continue
        place = f"{across.place(x):.1f} {up.place(y):.1f}"
        path.append(f"{pen}{place}")
        follows = i + 1 < len(points) and math.isfinite(points[i + 1][1])
        if pen == "M" and not follows:
            dots.append('<circle cx="{}" cy="{}" r="2.5"/>'.format(*place.split()))
        pen = "L"
    style = f'class="line {line.weight}" {_stroke(line.colour)}'
    return f'<g {style}><path d="{"".join(path)}"/>{"".join(dots)}</g>'


def _stroke(colour: int) -> str:
    """Return the attributes of a colour, and of dashes for readers who do not see it."""
    dashes = _DASHES[(colour // COLOURS + colour) % len(_DASHES)]
    attribute = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'style="--line:var(--c{colour % COLOURS})"{attribute}'


def _mark(mark: Mark, across: Axis, up: Axis) -> str:
    if mark.kind == "limit":
        return f'<path class="{mark.kind}" d="M{_LEFT} {up.place(mark.at):.1f}H{_RIGHT}"/>'
    x = min(max(across.place(mark.at), _LEFT), _RIGHT)
    if mark.kind == "interval":
        end = min(max(across.place(mark.end), _LEFT), _RIGHT)
        size = f'width="{end - x:.1f}" height="{_BOTTOM - _TOP}"'
        return f'<rect class="{mark.kind}" x="{x:.1f}" y="{_TOP}" {size}/>'
    return f'<path class="{mark.kind}" d="M{x:.1f} {_TOP}V{_BOTTOM}"/>'


def _legend(chart: Chart) -> str:
    """Return the legend; a single curve that is named like the chart needs none."""
    entries = []
    if [line.name for line in chart.lines] != [chart.title]:
        for line in chart.lines:
            sample = f'<g class="line {line.weight}" {_stroke(line.colour)}><path d="M0 6H26"/></g>'
            entries.append((sample, line.name))
    for mark in chart.marks:
        shape = "M0 6H26" if mark.kind == "limit" else "M13 0V12"
        sample = f'<path class="{mark.kind}" d="{shape}"/>'
        if mark.kind == "interval":
            sample = f'<rect class="{mark.kind}" width="26" height="12"/>'
        entries += [(sample, mark.words)] if mark.words else []
    if not entries:
        return ""
    listed = "".join(
        f'<li><svg viewBox="0 0 26 12" width="26" height="12" aria-hidden="true">{sample}</svg>'
        f"{text(words)}</li>"
        for sample, words in entries
    )
    return f'<figcaption><ul class="legend">{listed}</ul></figcaption>'
