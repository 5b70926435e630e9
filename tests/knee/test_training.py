"""`experiments/knee/train.py`: reproducible examples, and weights that the library reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.experiment_scripts import experiment_script

from lsr.knee.network import BINS, Ensemble, trained_ensemble
from lsr.knee.simulated_families import LONG_TAILED


@pytest.fixture(name="train", scope="module")
def fixture_train() -> Any:
    return experiment_script("knee/train")


def test_a_quarter_of_the_runs_has_a_long_tail_and_the_cache_is_read(
    train: Any, tmp_path: Path
) -> None:
    cache = tmp_path / "new" / "cache"
    drawn = train.collect(runs=16, seed=3, cache=cache, without=[])
    long_tailed = np.isin(drawn["families"], LONG_TAILED)
    runs = [len(np.load(cache / f"{seed}.npz")["families"]) for seed in (3, 1003)]
    assert [np.sum(~long_tailed), np.sum(long_tailed)] == runs and runs[1] > 0
    (cache / "1003.npz").write_bytes((cache / "3.npz").read_bytes())
    again = train.collect(runs=16, seed=3, cache=cache, without=[])
    assert not np.isin(again["families"], LONG_TAILED).any()


def test_a_short_training_writes_weights_that_can_be_read(train: Any, tmp_path: Path) -> None:
    examples = train.draw_examples(seed=5, runs=12)
    again = train.draw_examples(seed=5, runs=12)
    assert all(np.array_equal(examples[name], again[name]) for name in examples)
    assert examples["inputs"].shape == (len(examples["bins"]), len(trained_ensemble().mean))
    assert 0 <= examples["bins"].min() <= examples["bins"].max() < BINS
    layers, mean, scale = train.fit(examples, epochs=1, seed=0, hidden=8)
    train.save([layers], mean, scale, tmp_path / "weights.npz")
    inputs = examples["inputs"][0].astype(np.float64)
    exact = Ensemble(mean, scale, [layers]).estimate(inputs)
    stored = Ensemble.read(tmp_path / "weights.npz").estimate(inputs)
    assert np.allclose(stored.cumulative, exact.cumulative, atol=0.01)
