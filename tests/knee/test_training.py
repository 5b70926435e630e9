"""`experiments/knee/train.py`: reproducible examples, and weights that the library reads."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from support.processes import ROOT

from lsr.knee.network import BINS, Ensemble, trained_ensemble

SCRIPT = ROOT / "experiments" / "knee" / "train.py"


def test_a_short_training_writes_weights_that_can_be_read(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("knee_training", SCRIPT)
    assert spec is not None and spec.loader is not None
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
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
