"""Train the network of the knee detector on simulated runs.

    python experiments/knee/train.py [--runs 100000] [--seed 11] [--out lsr/knee/network.npz]

draws runs of `lsr.knee.simulator`, describes prefixes of them, fits an ensemble of networks with
torch and writes the weights. `--without` leaves families of rises out, to test the detector on
families that it has not learnt (`experiments/knee/leave_one_out.py`).
"""

from __future__ import annotations

import argparse
import sys
import time as clock
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lsr.knee.consensus import MeasuredRun
from lsr.knee.features import describe
from lsr.knee.network import (
    BINS,
    EDGES,
    EVENTS,
    FUTURE,
    FUTURE_SCALE,
    INPUT_LIMIT,
    QUANTILES,
    WEIGHTS,
)
from lsr.knee.signal import Array
from lsr.knee.simulated_families import LONG_TAILED, PLAIN
from lsr.knee.simulator import SimulatedCurve, simulate

FIRST_PREFIX = 7
PREFIX_RATIO = 1.5
"""Prefixes of a run have about 7, 11, 16, 24, ... validations.

Which prefixes are taken depends on the number of validations only, and not on where the knee is or
where the run ends. Therefore the outputs are calibrated for a detector that reads run after run.
"""
SEED = 11
"""Seed of the first part of the training set; the next parts count on from it."""
RUNS_PER_PART = 5000
LONG_TAILED_SHARE = 0.25
"""Share of the runs that are drawn from the families with a long tail."""
LONG_TAILED_SEED = 1000
"""Added to the seeds of their parts."""
HIDDEN = 256
LAYERS = 3
DROPOUT = 0.1
BATCH = 512
RATE = 2e-3
WEIGHT_DECAY = 0.02
FUTURE_WEIGHT = 3.0
"""Weight of the quantile loss; the cross-entropies of three events have weight 1."""


class Examples:
    """Described prefixes with their targets.

    Attributes:
        inputs: `(n, features)` descriptions.
        bins: `(n, 3)` bins of the first passing step, the knee and the last passing step.
        future: `(n, 2)` gains still to come, as `arcsinh(10 gain)`.
        families: `(n,)` families of the runs.
        pure: `(n,)` whether no other family contributed to the run.
    """

    def __init__(self) -> None:
        self.inputs: list[Array] = []
        self.bins: list[Array] = []
        self.future: list[Array] = []
        self.families: list[str] = []
        self.pure: list[bool] = []

    def add(self, curve: SimulatedCurve, generator: np.random.Generator) -> None:
        """Describe prefixes of a run."""
        signs = np.array([1 if way == "max" else -1 for way in curve.directions])
        values = curve.values * signs[:, None]
        known = np.isfinite(values).any(axis=0)
        steps, values = curve.steps[known], values[:, known]
        powers = PREFIX_RATIO ** (np.arange(12) + generator.random())
        for count in np.unique(np.round(FIRST_PREFIX * powers).astype(int)):
            if count <= len(steps):
                self._add_prefix(curve, steps[:count], values[:, :count])

    def _add_prefix(self, curve: SimulatedCurve, steps: Array, values: Array) -> None:
        run = MeasuredRun.of(curve.metrics, steps.astype(int).tolist(), values.T.tolist())
        if run.consensus is None:
            return
        elapsed = run.elapsed
        offset = steps[-1] - elapsed
        events = np.array([curve.tolerance[0], curve.knee, curve.tolerance[1]])
        events = np.nan_to_num((events - offset) / elapsed, nan=np.inf, posinf=1e6)
        features = describe(run.time, run.normalised, run.consensus, run.half)
        self.inputs.append(features.astype(np.float32))
        self.bins.append(np.searchsorted(EDGES, np.maximum(events, 1e-3), side="left"))
        self.future.append(
            _gain_to_come(curve, offset, elapsed, float(run.time[run.consensus.base]))
        )
        self.families.append(curve.family)
        self.pure.append("own shapes" not in curve.traits)


def _gain_to_come(curve: SimulatedCurve, offset: float, elapsed: float, base: float) -> Array:
    """Return the noise-free gain by each time of `FUTURE`, in gains so far, transformed."""
    times = offset + np.array([base, elapsed, *(factor * elapsed for factor in FUTURE)])
    heights = curve.truth(times)
    so_far = np.maximum(heights[:, 1] - heights[:, 0], 0.05)
    gain = np.median((heights[:, 2:] - heights[:, 1:2]) / so_far[:, None], axis=0)
    return np.arcsinh(FUTURE_SCALE * np.clip(gain, -5, 20))


def draw_examples(
    seed: int, runs: int, drawn_from: Sequence[str] | None = None
) -> dict[str, Array]:
    """Simulate runs and describe prefixes of them, as arrays of the attributes of `Examples`.

    Args:
        seed: Seed of the generator.
        runs: Number of runs.
        drawn_from: Families of rises, None for all.
    """
    generator = np.random.default_rng(seed)
    examples = Examples()
    for _ in range(runs):
        curve = simulate(generator, drawn_from)
        examples.add(curve, generator)
    return {name: np.array(column) for name, column in vars(examples).items()}


def fit(
    examples: dict[str, Array], epochs: int, seed: int, hidden: int = HIDDEN
) -> tuple[list[tuple[Array, Array]], Array, Array]:
    """Fit one network.

    Returns:
        The layers as weights and biases, and the mean and the scale of the inputs.
    """
    import torch

    torch.manual_seed(seed)
    shuffle = torch.Generator().manual_seed(seed)
    inputs = examples["inputs"]
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-3
    standard = torch.from_numpy(np.clip((inputs - mean) / scale, -INPUT_LIMIT, INPUT_LIMIT))
    bins = torch.from_numpy(examples["bins"])
    future = torch.from_numpy(examples["future"].astype(np.float32))
    modules: list[torch.nn.Module] = []
    width = standard.shape[1]
    for _ in range(LAYERS):
        modules += [torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Dropout(DROPOUT)]
        width = hidden
    outputs = EVENTS * BINS + len(FUTURE) * len(QUANTILES)
    network = torch.nn.Sequential(*modules, torch.nn.Linear(width, outputs))
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * -(-len(standard) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.1)
    levels = torch.tensor(QUANTILES)
    for epoch in range(epochs):
        started = clock.time()
        total = 0.0
        for index in torch.randperm(len(standard), generator=shuffle).split(BATCH):
            output = network(standard[index])
            logits = output[:, : EVENTS * BINS].reshape(-1, BINS)
            entropy = torch.nn.functional.cross_entropy(logits, bins[index].reshape(-1)) * EVENTS
            quantiles = output[:, EVENTS * BINS :].reshape(-1, len(FUTURE), len(QUANTILES))
            error = future[index][:, :, None] - quantiles
            pinball = torch.maximum(levels * error, (levels - 1) * error).mean()
            optimiser.zero_grad()
            (entropy + FUTURE_WEIGHT * pinball).backward()
            optimiser.step()
            schedule.step()
            total += entropy.item() * len(index)
        words = f"network {seed} epoch {epoch}: cross-entropy {total / len(standard):.4f}"
        sys.stdout.write(f"{words}, {clock.time() - started:.0f} s\n")
        sys.stdout.flush()
    linear = [module for module in network if isinstance(module, torch.nn.Linear)]
    layers = [(m.weight.detach().numpy().T.copy(), m.bias.detach().numpy()) for m in linear]
    return layers, mean, scale


def save(networks: list, mean: Array, scale: Array, path: Path) -> None:
    """Write the weights as whole numbers of 8 bits with one scale for each output of a layer."""
    arrays = {
        "networks": np.array(len(networks), dtype=np.int16),
        "mean": mean.astype(np.float32),
        "scale": scale.astype(np.float32),
    }
    for number, layers in enumerate(networks):
        for depth, (weight, bias) in enumerate(layers):
            step = np.maximum(np.abs(weight).max(axis=0), 1e-12) / 127
            arrays[f"{number}.{depth}.weight"] = np.round(weight / step).astype(np.int8)
            arrays[f"{number}.{depth}.scale"] = step.astype(np.float32)
            arrays[f"{number}.{depth}.bias"] = bias.astype(np.float32)
    np.savez(path, **arrays)


def _parts(
    runs: int, seed: int, cache: Path | None, drawn_from: Sequence[str]
) -> list[dict[str, Array]]:
    """Draw or read the parts of one half of the training set."""
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    parts = []
    for number in range(-(-runs // RUNS_PER_PART)):
        file = None if cache is None else cache / f"{seed + number}.npz"
        if file is not None and file.exists():
            with np.load(file) as stored:
                parts.append({name: stored[name] for name in stored.files})
            continue
        parts.append(draw_examples(seed + number, min(RUNS_PER_PART, runs), drawn_from))
        if file is not None:
            np.savez(file, **parts[-1])
    return parts


def collect(runs: int, seed: int, cache: Path | None, without: Sequence[str]) -> dict[str, Array]:
    """Draw the training set in parts; with a cache, parts that are there are read."""
    long_tailed = round(LONG_TAILED_SHARE * runs)
    parts = _parts(runs - long_tailed, seed, cache, PLAIN)
    parts += _parts(long_tailed, seed + LONG_TAILED_SEED, cache, LONG_TAILED)
    examples = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if without:
        kept = ~np.isin(examples["families"], without) & examples["pure"]
        examples = {name: column[kept] for name, column in examples.items()}
    return examples


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000, help="number of simulated runs")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the first part of the runs")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--networks", type=int, default=1, help="size of the ensemble")
    parser.add_argument("--hidden", type=int, default=HIDDEN, help="width of the hidden layers")
    parser.add_argument("--without", nargs="*", default=[], help="families of rises to leave out")
    parser.add_argument("--cache", type=Path, help="folder that keeps the simulated prefixes")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file for the weights")
    options = parser.parse_args()
    examples = collect(options.runs, options.seed, options.cache, options.without)
    sys.stdout.write(f"{len(examples['inputs'])} prefixes\n")
    fitted = [
        fit(examples, options.epochs, seed, options.hidden) for seed in range(options.networks)
    ]
    save([layers for layers, _, _ in fitted], fitted[0][1], fitted[0][2], options.out)


if __name__ == "__main__":
    main()
