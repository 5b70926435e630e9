"""The section of curves: every logged metric of every run, with the knee of each run."""

from collections.abc import Iterable, Mapping, Sequence

from lsr.models.attention_health import HEADROOM
from lsr.report.chart import Chart, Line, Mark, draw
from lsr.report.finding import Finding
from lsr.report.markup import details, heading, paragraphs, table
from lsr.report.run_files import RunFiles

_POINTS = 300
"""Points of a chart at most, of all runs together."""

_ROWS = 16
"""Rows of the table below a chart, at most."""

_SHORTEST = 40
"""Points that a curve keeps at least."""

_GROUPS = {
    "Validation": ("val", "val_real", "test"),
    "Training": ("train", ""),
    "Health of the attention": ("health",),
    "Detector of the knee": ("knee",),
    "Divergence guard": ("guard",),
    "Speed": ("throughput",),
}
"""Groups of curves by the part of their names before the first slash, in their order."""

_OTHERS = "Other curves"

_OPEN = ("Validation", "Training", "Health of the attention")
"""Groups that are shown at once."""

Curve = Mapping[int, float]


def curves_section(runs: Sequence[RunFiles], findings: Sequence[Finding], room: int) -> str:
    """Return the charts of all curves, each with a table of its values.

    Args:
        runs: The runs.
        findings: The verdict on each.
        room: Characters that the section may have. Charts that do not fit are named instead.
    """
    names = _names(runs)
    parts, left_out = [], []
    for group, members in _grouped(names).items():
        drawn = []
        for name in members:
            piece = _figure(name, runs, findings)
            if len(piece) > room:
                left_out.append(name)
                continue
            room -= len(piece)
            drawn.append(piece)
        if drawn:
            grid = f'<div class="charts">{"".join(drawn)}</div>'
            of = "curve" if len(drawn) == 1 else "curves"
            shown = group in _OPEN or not parts
            parts.append(heading(group) + (grid if shown else details(f"{len(drawn)} {of}", grid)))
    if left_out:
        words = f"{len(left_out)} curves are left out to keep this file small: "
        parts += [paragraphs([words + ", ".join(left_out)])]
    return "".join(parts) or paragraphs(["No curves are logged."])


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """Return the names of all curves; smoothed ones and baselines belong to other charts."""
    names = dict.fromkeys(name for run in runs for name in run.curves)
    beside = {other for name in names for other in _beside(name)}
    return [name for name in names if name not in beside]


def _beside(name: str) -> tuple[str, str]:
    """Return the names of the curves that a chart shows next to a metric."""
    return f"knee/{name.removeprefix('val/')}/smoothed", f"{name}_bicubic"


def _grouped(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {group: [] for group in (*_GROUPS, _OTHERS)}
    for name in names:
        first = name.partition("/")[0] if "/" in name else ""
        group = next((group for group, parts in _GROUPS.items() if first in parts), _OTHERS)
        found[group].append(name)
    return found


def _figure(name: str, runs: Sequence[RunFiles], findings: Sequence[Finding]) -> str:
    """Return the chart of a metric, and the table of its values."""
    having = [
        (number, run, finding)
        for number, (run, finding) in enumerate(zip(runs, findings, strict=True))
        if name in run.curves
    ]
    most = max(_SHORTEST, _POINTS // len(having))
    if len(runs) == 1:
        lines = _lines_of_one(name, runs[0].curves, most)
        marks = list(findings[0].marks)
    else:
        lines = [Line(run.name, thinned(run.curves[name], most), i) for i, run, _ in having]
        marks = [_of_run(mark, run) for _, run, finding in having for mark in finding.marks]
        marks = [mark for mark in marks if mark.kind in ("knee", "diverged")]
    if name == HEADROOM:
        marks.append(Mark("limit", "1: float16 overflows", 1.0))
    chart = Chart(name, lines, marks)
    columns = {run.name: run.curves[name] for _, run, _ in having}
    steps = [finding.knee for finding in findings if finding.knee is not None]
    return f"<div>{draw(chart)}{details('Values', _values(name, columns, steps))}</div>"


def _lines_of_one(name: str, curves: Mapping[str, Curve], most: int) -> list[Line]:
    """Return a metric of a single run, with its smooth line and its baseline if they are logged."""
    smooth, baseline = _beside(name)
    is_smooth = smooth in curves
    own = "as measured" if is_smooth else name
    lines = [Line(own, thinned(curves[name], most), 0, "thin" if is_smooth else "thick")]
    if is_smooth:
        lines.append(Line("smoothed by the detector", thinned(curves[smooth], most), 0))
    if baseline in curves:
        lines.append(Line("bicubic", thinned(curves[baseline], most), 1))
    return lines


def _of_run(mark: Mark, run: RunFiles) -> Mark:
    return Mark(mark.kind, f"{run.name}: {mark.words}", mark.at, mark.end)


def thinned(curve: Curve, most: int) -> list[tuple[float, float]]:
    """Return at most about `most` points of a curve: the extremes of equal parts, and both ends.

    A part without a finite value stays a gap of the chart.
    """
    points: list[tuple[float, float]] = [(step, value) for step, value in curve.items()]
    if len(points) <= most:
        return points
    size = -(-2 * len(points) // most)
    kept: dict[float, float] = dict([points[0]])
    for start in range(0, len(points), size):
        part = points[start : start + size]
        finite = [point for point in part if abs(point[1]) < float("inf")] or part
        lowest = min(finite, key=lambda point: point[1])
        highest = max(finite, key=lambda point: point[1])
        kept |= dict(sorted({lowest, highest}))
    return [*(kept | dict([points[-1]])).items()]


def _values(name: str, columns: Mapping[str, Curve], steps: Sequence[int]) -> str:
    """Return a table of values at about `_ROWS` steps, those of the knees among them."""
    every = sorted(set().union(*columns.values()))
    chosen = set(every) & set(steps) | {every[0], every[-1]}
    chosen |= set(every[:: -(-len(every) // _ROWS)])
    rows = [
        [step, *(float(column[step]) if step in column else None for column in columns.values())]
        for step in sorted(chosen)
    ]
    words = f"{name}: {len(rows)} of {len(every)} logged steps"
    head = ["step", *columns] if len(columns) > 1 else ["step", name]
    return table(words, head, rows)
