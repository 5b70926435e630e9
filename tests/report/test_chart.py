"""Charts of any numbers, and colours that can be told apart."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.web_page import WebPage

from lsr.report.axis import axis_of
from lsr.report.chart import Chart, Line, Mark, draw
from lsr.report.curves import thinned
from lsr.report.page import page

PLACE = re.compile(r"[ML](\S+) (\S+?)(?=[ML]|$)")


def paths(source):
    """Return the points in pixels of each piece of each curve."""
    svg = source.partition("<figcaption>")[0]
    for path in re.findall(r'<g class="line[^>]*><path d="([^"]*)"', svg):
        yield [
            [tuple(map(float, point)) for point in PLACE.findall(piece)]
            for piece in re.findall(r"M[^M]*", path)
        ]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 10**15), st.floats()), min_size=1, max_size=8), st.floats()
)
def test_any_numbers_are_drawn_within_the_chart(points, limit):
    marks = [Mark("knee", "knee", points[0][0]), Mark("interval", "between", 0, 10**18)]
    marks += [Mark("limit", "limit", limit)] if math.isfinite(limit) else []
    source = draw(Chart("a", [Line("a", sorted(points))], marks))
    WebPage(source)
    assert not re.search(r'd="[^"]*(nan|inf)', source)
    for piece in paths(source):
        assert all(0 <= x <= 400 and 0 <= y <= 220 for part in piece for x, y in part)


def test_a_value_that_is_not_finite_leaves_a_gap():
    line = Line("a", [(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0), (4, 2.0)])
    (pieces,) = paths(draw(Chart("a", [line])))
    assert [len(piece) for piece in pieces] == [2, 2]
    assert pieces[0][0][1] == pieces[1][0][1] > pieces[0][1][1]


def test_powers_of_ten_are_evenly_spaced_on_a_logarithmic_axis():
    axis = axis_of([1.0, 1000.0], 0, 300, may_be_log=True)
    places = [axis.place(value) for value in (1, 10, 100, 1000)]
    gaps = [after - before for before, after in zip(places, places[1:], strict=False)]
    assert gaps == pytest.approx([gaps[0]] * 3) and axis.ticks() == [1, 10, 100, 1000]
    assert not axis_of([-1.0, 1000.0], 0, 300, may_be_log=True).is_log


def test_a_curve_of_zeros_lies_at_the_bottom_of_an_axis_without_negative_values():
    axis = axis_of([0.0, 0.0], 100, 0)
    assert axis.ticks()[0] == 0 and 90 < axis.place(0.0) < 100


def test_a_thinned_curve_keeps_its_ends_and_its_spikes():
    curve = {step: math.sin(step / 500) for step in range(10_000)} | {777: 50.0, 778: -50.0}
    points = thinned(curve, 300)
    assert len(points) <= 302 and points == sorted(points)
    assert {(0, curve[0]), (9999, curve[9999]), (777, 50.0), (778, -50.0)} <= set(points)


def luminance(colour):
    """Relative luminance of WCAG 2.2 of `#rgb` or `#rrggbb`."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    values = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_text_and_curves_have_the_contrast_of_wcag_aa_on_light_and_dark_screens():
    blocks = re.findall(r":root \{([^}]*)\}", page("t", "i", [("a", "b", "c")]))
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]+)", block))
        for ground in ("paper", "card"):
            for name in ("ink", "quiet", "link", "good", "bad"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
            for name in ("mark", *(f"c{i}" for i in range(6))):
                assert contrast(colours[name], colours[ground]) >= 3, (name, ground)
