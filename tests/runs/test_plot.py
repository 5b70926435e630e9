import numpy as np
import pytest

from lsr.runs.plot import draw_runs

RUNS = {
    "knee": [
        {"val/psnr_y": {100: 24.0, 200: 25.0}},
        {"val/psnr_y": {100: 26.0, 200: 25.0, 300: 27.0}},
    ],
    "last": [{"val/psnr_y": {100: 23.0}, "val/niqe": {100: 5.0}}],
}


def lines(axes):
    """Return the points of every labelled line, by its label."""
    return {
        line.get_label(): np.column_stack(line.get_data()).tolist()
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_the_mean_is_over_the_seeds_that_are_there_at_a_step():
    psnr, niqe = draw_runs(RUNS, ["val/psnr_y", "val/niqe"], {}).axes
    assert lines(psnr) == {"knee": [[100, 25], [200, 25]], "last": [[100, 23]]}
    assert lines(niqe) == {"knee": [], "last": [[100, 5]]}
    thin = [
        line
        for line in psnr.lines
        if line.get_label().startswith("_") and len(line.get_xdata()) > 1
    ]
    assert [len(line.get_xdata()) for line in thin] == [2, 3], "every seed of several"


def test_divergence_is_a_cross_at_its_step():
    (axes,) = draw_runs(RUNS, ["val/psnr_y"], {"last": [150, 170]}).axes
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "x"] == [
        [150],
        [170],
    ]


def test_a_seventh_variant_looks_like_no_other():
    (axes,) = draw_runs({str(i): [{"a": {1: float(i), 2: 0.0}}] for i in range(12)}, ["a"], {}).axes
    looks = [
        (line.get_color(), line.get_linestyle())
        for line in axes.lines
        if not line.get_label().startswith("_")
    ]
    assert len(set(looks)) == 12


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("diverged", [{}, {"last": [150]}])
def test_the_axes_fill_the_figure(diverged):
    figure = draw_runs(RUNS, ["val/psnr_y", "val/niqe", "val/loss"], diverged)
    figure.canvas.draw()
    used = [axes.get_position() for axes in figure.axes[:3]]
    assert all(box.width > 0.35 and box.height > 0.25 for box in used)
