"""Test the detector on groups of rises with networks that have not learnt this group.

    python experiments/knee/leave_one_out.py [--runs 25000] [--curves 60]

For every group of similar families the network is trained without it, and the detector is scored on
fresh runs of this group only. The figures show what to expect of a curve that resembles none of the
simulated ones.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import train

from lsr.knee.network import Ensemble
from lsr.knee.scoring import Outcome, draw_runs, judge_pick, rates, this_detector
from lsr.knee.simulator import SimulatedCurve

GROUPS = {
    "S-shapes": ["logistic", "richards", "gompertz"],
    "heavy tails": [
        "power law",
        "hill",
        "hyperbolic",
        "double exponential",
        "two speeds",
        "long tail",
    ],
    "corners": ["corner", "capped logarithm", "steep logarithm"],
    "exponentials": ["exponential", "stretched", "random monotone"],
    "staged": ["staged"],
    "learning rates": ["decayed rate"],
    "logarithms": ["logarithm", "shallow power law", "creeping tail"],
    "powers": ["power", "second stage"],
}
SEED = 7000
LONGEST = 260


def words(name: str, curves: list[SimulatedCurve], outcomes: list[Outcome]) -> str:
    """Return one line with the rates and their intervals."""
    scores = rates(curves, outcomes)
    parts = [f"{name:20s}"]
    for rate, (value, low, high) in scores.items():
        if not math.isnan(value):
            text = f"{value:.0f}" if rate == "delay" else f"{value:.0%} ({low:.0%}-{high:.0%})"
            parts.append(f"{rate} {text}")
    return "  ".join(parts) + "\n"


def main() -> None:
    """Train and score once for each group."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=25_000, help="runs of the training set")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=train.HIDDEN)
    parser.add_argument("--curves", type=int, default=60, help="test runs of each group")
    parser.add_argument("--cache", type=Path, help="see train.py")
    options = parser.parse_args()
    all_curves: list[SimulatedCurve] = []
    all_outcomes: list[Outcome] = []
    for number, (group, families) in enumerate(GROUPS.items()):
        examples = train.collect(options.runs, train.SEED, options.cache, families)
        layers, mean, scale = train.fit(examples, options.epochs, 0, options.hidden)
        ensemble = Ensemble(mean, scale, [layers])
        curves = draw_runs(SEED + number, options.curves, families, LONGEST)
        outcomes = [judge_pick(run, this_detector(run, ensemble=ensemble)) for run in curves]
        sys.stdout.write(words(group, curves, outcomes))
        sys.stdout.flush()
        all_curves += curves
        all_outcomes += outcomes
    sys.stdout.write(words("all", all_curves, all_outcomes))


if __name__ == "__main__":
    main()
