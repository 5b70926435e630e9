"""The bisection of the critical learning rate, its table, and what it needs."""

import math

import pytest
from support.experiment_scripts import experiment_script


@pytest.fixture(scope="module")
def script():
    return experiment_script("esgf/critical_rate")


@pytest.mark.parametrize("limit", [2e-5, 2e-3, 0.06])
def test_bisection_finds_the_rate_to_a_sixth(script, limit):
    tried = []
    found = script.critical_rate(lambda rate: (tried.append(rate), rate < limit)[1])
    assert found == pytest.approx(limit, rel=0.16)
    assert len(tried) == len(set(tried)) == 2 + script.HALVINGS


def test_a_start_may_survive_nothing_or_everything(script):
    assert script.critical_rate(lambda rate: False) == 0
    assert script.critical_rate(lambda rate: True) == math.inf


def test_a_cell_has_the_geometric_mean_and_every_seed(script):
    found = {(start, "float32"): [0.01, 0.04] for start in ("knee", "best")}
    found["end", "float32"] = [0.0, 0.02, math.inf]
    assert script.write_table(found).splitlines()[2:] == [
        "| knee | **0.02** (0.01, 0.04) |",
        "| best | **0.02** (0.01, 0.04) |",
        "| end | below 1e-05, 0.02, above 0.1 |",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "run stage 1 first (make esgf)"), (("--sums", "float8"), "choose from float32")],
)
def test_bad_input_is_one_line(script, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        script.main([str(tmp_path), *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1].replace("'", "")
