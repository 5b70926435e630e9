"""The table, the paragraph and the figure of `make esgf`, from runs that are written here."""

import pytest
from PIL import Image
from support.experiment_scripts import experiment_script
from support.knee_folder import publish_knee

from lsr.models.attention_health import HEADROOM


@pytest.fixture(scope="module")
def script():
    return experiment_script("esgf/report")


RUNS = """model,"psnr_y, 1 steps",diverged at step
seed=end lr=1e-2 dtype=float16,,3
seed=end lr=1e-2 dtype=float16,23.5,
seed=end lr=1e-2 dtype=float32,23.0,
seed=end lr=1e-2 dtype=float32,24.0,
seed=knee lr=1e-3 dtype=float16,24.1,
seed=end lr=1e-3 dtype=float16,,0
seed=end lr=1e-3 dtype=float32,nan,
"""


@pytest.fixture
def cells(script, tmp_path):
    (tmp_path / "runs.csv").write_text(RUNS)
    return script.read_cells(tmp_path / "runs.csv")


def test_a_cell_says_how_many_runs_ended_in_nan(script, cells):
    assert script.write_table(cells).splitlines() == [
        "| start | rate | sums in float16 | sums in float32 |",
        "| --- | --- | --- | --- |",
        "| knee | 1e-3 | 24.10 dB | – |",
        "| end | 1e-3 | **NaN in 1 of 1** | **NaN in 1 of 1** |",
        "| end | 1e-2 | 23.50 dB, **NaN in 1 of 2** | 23.50 dB |",
    ]


def test_the_paragraph_counts_all_runs(script, cells):
    headroom = {100: 4.0, 200: 1.9, 300: 0.8}
    words = script.write_paragraph(200, headroom, cells)
    assert "knee is at step 200" in words and "headroom of 1.9" in words
    assert "below 2 at step 200 and below 1 at step 300" in words
    assert "in 0 of 1 runs from the knee, in 0 of 0 from the best validation" in words
    assert "validation and in 2 of 3 from the end; with sums in float32 in 1 of 3 runs" in words
    assert "below 1 at no step" in script.write_paragraph(100, {100: 1.5}, cells)


def test_runs_that_are_missing_or_of_another_experiment_are_one_line(script, tmp_path):
    with pytest.raises(ValueError, match="no such file: run stage 2 first"):
        script.read_cells(tmp_path / "runs.csv")
    (tmp_path / "runs.csv").write_text("model\ntwo\n")
    with pytest.raises(ValueError, match="'two' is not a run of esgf/stage2"):
        script.read_cells(tmp_path / "runs.csv")
    with pytest.raises(ValueError, match="knee.json: no such file: run stage 1 to its end first"):
        script.main(tmp_path)


def test_report_and_figure_are_written(script, tmp_path, capsys):
    stage1 = tmp_path / "stage1"
    stage1.mkdir()
    publish_knee(stage1)
    (stage1 / "end.safetensors").write_bytes((stage1 / "knee" / "seed.safetensors").read_bytes())
    rows = [f"{step},{23 + step / 1000},{500 / step}" for step in (7, 14, 21)]
    (stage1 / "metrics.csv").write_text(f"step,val/psnr_y,{HEADROOM}\n" + "\n".join(rows))
    (tmp_path / "stage2").mkdir()
    (tmp_path / "stage2" / "runs.csv").write_text(RUNS)
    assert script.main(tmp_path) == 0
    assert capsys.readouterr().out == (tmp_path / "report.md").read_text()
    assert Image.open(tmp_path / "esgf.png").width > 1000
