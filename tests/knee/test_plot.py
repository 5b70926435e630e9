"""The figure of a knee: its lines and labels, and that any thread can draw it."""

import dataclasses
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from lsr.figures import save_png
from lsr.knee import KneeDetector
from lsr.knee.plot import draw_knee
from lsr.runs.history import Validation

METRICS = {"val/maniqa": "max", "val/niqe": "min"}


def rising(count=60, seed=0, noise=0.02):
    """An exponential rise with its knee at step 10,000 and a falling loss."""
    generator = np.random.default_rng(seed)
    history = []
    for step in range(500, 500 * count + 1, 500):
        rise = -math.expm1(-3 * step / 10_000)
        first, second = rise + noise * generator.normal(size=2)
        history.append(
            Validation(
                step,
                {"val/maniqa": float(first), "val/niqe": 6 - 2 * float(second)},
                0.1 + 2 * math.exp(-step / 3_000),
            )
        )
    return history


def judge(history, metrics):
    detector = KneeDetector(metrics)
    for validation in history:
        verdict = detector.update(validation.step, validation.values, validation.loss)
    return verdict


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).copy()


def line(figure, words):
    (found,) = [
        line for axes in figure.axes for line in axes.get_lines() if words in str(line.get_label())
    ]
    return found


HISTORY = rising()
VERDICT = judge(HISTORY, METRICS)


def test_the_knee_is_a_solid_line_and_the_confirmation_another():
    figure = draw_knee(HISTORY, VERDICT, METRICS)
    assert VERDICT.knee_step is not None
    knee, confirmed = (
        line(figure, f"knee: step {VERDICT.knee_step:,}"),
        line(figure, f"confirmed at step {VERDICT.confirmed_at_step:,}"),
    )
    assert (knee.get_xdata()[0], knee.get_linestyle()) == (VERDICT.knee_step, "-")
    assert (
        confirmed.get_xdata()[0] == VERDICT.confirmed_at_step and confirmed.get_linestyle() != "-"
    )
    assert VERDICT.reason in [text.get_text().replace("\n", " ") for text in figure.texts]


def headline_of(figure):
    return max(figure.texts, key=lambda text: text.get_fontsize()).get_text()


def test_the_headline_of_an_unconfirmed_knee_says_so():
    assert headline_of(draw_knee(HISTORY, VERDICT, METRICS)) == f"knee: step {VERDICT.knee_step:,}"
    seen = set()
    for count in (3, 12, 18, 22, 26):
        verdict = judge(HISTORY[:count], METRICS)
        assert verdict.knee_step is None
        title = headline_of(draw_knee(HISTORY[:count], verdict, METRICS))
        assert title.startswith("not confirmed: ") and len(title) <= 40
        seen.add(title.split()[2])
    assert {"no", "step"} <= seen
    diverged = judge([*HISTORY[:10], Validation(5_500, {}, math.nan)], METRICS)
    assert headline_of(draw_knee(HISTORY, diverged, METRICS)) == "diverged at step 5,500: no knee"


def test_the_interval_is_shaded_and_what_is_to_come_is_written():
    figure = draw_knee(HISTORY, VERDICT, METRICS)
    (shade,) = [p for p in figure.axes[0].patches if "80 % interval" in str(p.get_label())]
    assert VERDICT.interval is not None
    low, high = VERDICT.interval
    assert shade.get_x() == low and shade.get_x() + shade.get_width() == high
    (words,) = [text.get_text() for text in figure.texts if "still to come" in text.get_text()]
    for name in METRICS:
        assert f"{name}: " in words
    assert f"by step {VERDICT.remaining['val/niqe'][1]['step']:,}" in words


@pytest.mark.parametrize("height", [2.2, 5.0])
def test_an_early_bump_neither_starts_the_line_nor_stretches_the_axis(height):
    def bumped(v):
        bump = height * math.exp(-((v.step / 1_500) ** 2))
        return dataclasses.replace(
            v, values=v.values | {"val/maniqa": v.values["val/maniqa"] + bump}
        )

    history = [bumped(v) for v in HISTORY]
    verdict = judge(history, METRICS)
    figure = draw_knee(history, verdict, METRICS)
    curve = line(figure, "val/maniqa")
    assert abs(curve.get_ydata()[0]) < 0.1 and curve.get_xdata()[0] > HISTORY[0].step
    assert figure.axes[0].get_ylim()[1] < 1.3


def test_the_candidate_is_dashed():
    verdict = judge(HISTORY[:12], METRICS)
    assert verdict.knee_step is None
    candidate = line(
        draw_knee(HISTORY[:12], verdict, METRICS), f"candidate: step {verdict.candidate_step:,}"
    )
    assert (candidate.get_xdata()[0], candidate.get_linestyle()) == (verdict.candidate_step, "--")


def test_divergence_is_marked():
    history = [*HISTORY[:10], Validation(5_500, {}, math.nan)]
    assert (
        line(
            draw_knee(history, judge(history, METRICS), METRICS), "diverged at step 5,500"
        ).get_xdata()[0]
        == 5_500
    )


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_rises_from_0_to_1_up_to_the_confirmation(name):
    curve = line(draw_knee(HISTORY, VERDICT, METRICS), name)
    steps, heights = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
    assert abs(heights[0]) < 0.1
    assert (
        0.85 < heights[steps == VERDICT.knee_step] < 1.0
        and abs(heights[steps == VERDICT.confirmed_at_step] - 1) < 0.1
    )


def test_units_and_direction_do_not_change_the_curves():
    scaled = [
        dataclasses.replace(
            v, values={"val/maniqa": -8 * v.values["val/maniqa"], "val/niqe": v.values["val/niqe"]}
        )
        for v in HISTORY
    ]
    flipped = draw_knee(scaled, VERDICT, METRICS | {"val/maniqa": "min"})
    original = line(draw_knee(HISTORY, VERDICT, METRICS), "val/maniqa")
    assert np.allclose(
        original.get_ydata(), line(flipped, "val/maniqa (lower is better)").get_ydata()
    )


def test_a_metric_that_abstains_is_drawn_apart():
    generator = np.random.default_rng(1)
    history = [
        dataclasses.replace(v, values=v.values | {"val/musiq": float(generator.normal())})
        for v in HISTORY
    ]
    abstains = VERDICT.per_metric["val/niqe"] | {"informative": False}
    verdict = dataclasses.replace(VERDICT, per_metric=VERDICT.per_metric | {"val/musiq": abstains})
    figure = draw_knee(history, verdict, METRICS | {"val/musiq": "max"})
    abstaining = line(figure, "val/musiq (abstains)")
    assert abstaining.get_linewidth() < line(figure, "val/maniqa").get_linewidth()
    assert 0 <= min(abstaining.get_ydata()) and max(abstaining.get_ydata()) <= 1


@pytest.mark.parametrize(
    ("losses", "scale"), [((2.0, 1.0), "linear"), ((20.0, 1.0), "log"), ((20.0, -1.0), "linear")]
)
def test_the_loss_has_an_axis_of_its_own_logarithmic_over_decades(losses, scale):
    history = [dataclasses.replace(v, loss=losses[i > 5]) for i, v in enumerate(HISTORY)]
    curve = line(draw_knee(history, VERDICT, METRICS), "training loss")
    assert curve.axes.get_yscale() == scale and "gain" not in curve.axes.get_ylabel()


@pytest.mark.parametrize(
    "history",
    [
        [],
        HISTORY[:1],
        HISTORY[:3],
        [dataclasses.replace(v, values={}) for v in HISTORY],
        [
            dataclasses.replace(v, values=dict.fromkeys(METRICS, math.nan), loss=None)
            for v in HISTORY
        ],
        [dataclasses.replace(v, values=dict.fromkeys(METRICS, 7.0)) for v in HISTORY],
        [dataclasses.replace(v, values={"val/maniqa": -v.values["val/maniqa"]}) for v in HISTORY],
        [
            dataclasses.replace(
                v, values={"val/maniqa": v.values["val/maniqa"], "val/niqe": math.inf}
            )
            for v in HISTORY
        ],
    ],
    ids=["nothing", "one", "three", "missing", "nan", "constant", "falling", "infinite"],
)
@pytest.mark.parametrize("judged", ["so", "otherwise"])
def test_any_history_can_be_drawn(history, judged, recwarn):
    verdict = judge(history, METRICS) if judged == "so" and history else VERDICT
    assert np.ptp(pixels(draw_knee(history, verdict, METRICS))) > 0
    assert not [str(warning.message) for warning in recwarn]


@pytest.mark.parametrize("count", [1, 8])
def test_the_legend_is_inside_the_figure_and_outside_of_the_data(count):
    metrics = {f"val/metric-{i}-of-some-length": "min" for i in range(count)}
    history = [
        dataclasses.replace(v, values=dict.fromkeys(metrics, v.values["val/niqe"])) for v in HISTORY
    ]
    figure = draw_knee(history, judge(history, metrics), metrics)
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1 and legend.y0 >= 0
    assert all(legend.y1 <= axes.get_tightbbox().y0 for axes in figure.axes)


def test_threads_draw_the_same_and_pyplot_is_not_touched():
    expected = pixels(draw_knee(HISTORY, VERDICT, METRICS))
    with ThreadPoolExecutor(2) as threads:
        for drawn in [
            threads.submit(lambda: pixels(draw_knee(HISTORY, VERDICT, METRICS))) for _ in range(2)
        ]:
            assert np.array_equal(drawn.result(), expected)
    code = (
        "import sys; from lsr.knee.detector import KneeDetector; "
        "from lsr.knee.plot import draw_knee; assert 'matplotlib' not in sys.modules; "
        "draw_knee([], KneeDetector({'m': 'max'}).update(0, {}), {'m': 'max'}); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_png_is_the_figure(tmp_path):
    figure = draw_knee(HISTORY, VERDICT, METRICS)
    save_png(figure, tmp_path / "new" / "knee.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["knee.png"]
    with Image.open(tmp_path / "new" / "knee.png") as picture:
        assert np.array_equal(np.asarray(picture.convert("RGBA")), pixels(figure))


def test_the_headroom_has_a_strip_of_its_own_below_the_loss():
    assert not any(
        "headroom" in str(axes.get_ylabel()) for axes in draw_knee(HISTORY, VERDICT, METRICS).axes
    )
    history = [dataclasses.replace(v, headroom=1e5 / v.step) for v in HISTORY]
    figure = draw_knee(history, VERDICT, METRICS)
    curves, loss, headroom = figure.axes
    drawn = line(figure, "float16 headroom")
    assert list(drawn.get_ydata()) == [v.headroom for v in history]
    assert list(drawn.get_xdata()) == [v.step for v in history]
    assert headroom.get_xlabel() == "training step" and loss.get_xlabel() == ""
    places = [axes.get_position() for axes in (headroom, loss, curves)]
    assert all(low.y1 < high.y0 for low, high in zip(places, places[1:], strict=False))


def test_a_headroom_without_a_loss_is_drawn_and_one_value_alone_is_not():
    silent = [dataclasses.replace(v, loss=None, headroom=3.0) for v in HISTORY]
    assert len(draw_knee(silent, VERDICT, METRICS).axes) == 2
    once = [
        dataclasses.replace(silent[0]),
        *(dataclasses.replace(v, headroom=None) for v in silent[1:]),
    ]
    assert len(draw_knee(once, VERDICT, METRICS).axes) == 1
