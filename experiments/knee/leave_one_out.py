"""Test the detector on each family of rises with a network that has not learnt this family.

    python experiments/knee/leave_one_out.py [--runs 50000] [--curves 40]

For every family the network is trained without it, and the detector is scored on fresh runs of this
family only. The figures show what to expect of a curve that resembles none of the simulated ones.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import train

from lsr.knee.network import Ensemble
from lsr.knee.scoring import Outcome, draw_runs, judge_pick, rates, this_detector
from lsr.knee.simulated_rises import ENDLESS, SATURATING
from lsr.knee.simulator import SimulatedCurve

SEED = 7000
LONGEST = 260


def words(name: str, curves: list[SimulatedCurve], outcomes: list[Outcome]) -> str:
    """Return one line with the rates and their intervals."""
    scores = rates(curves, outcomes)
    parts = [f"{name:20s}"]
    for rate, (value, low, high) in scores.items():
        if value == value:
            text = f"{value:.0f}" if rate == "delay" else f"{value:.0%} ({low:.0%}-{high:.0%})"
            parts.append(f"{rate} {text}")
    return "  ".join(parts) + "\n"


def main() -> None:
    """Train and score once for each family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50_000, help="runs of the training set")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=train.HIDDEN)
    parser.add_argument("--curves", type=int, default=40, help="test runs of each family")
    parser.add_argument("--families", nargs="*", default=[*SATURATING, *ENDLESS])
    parser.add_argument("--cache", type=Path, help="see train.py")
    options = parser.parse_args()
    every = train.collect(options.runs, 11, options.cache, None)
    all_curves: list[SimulatedCurve] = []
    all_outcomes: list[Outcome] = []
    for number, family in enumerate(options.families):
        kept = (every["families"] != family) & every["pure"]
        examples = {name: column[kept] for name, column in every.items()}
        layers, mean, scale = train.fit(examples, options.epochs, 0, options.hidden)
        ensemble = Ensemble(mean, scale, [layers])
        curves = draw_runs(SEED + number, options.curves, [family], LONGEST)
        outcomes = [judge_pick(curve, this_detector(curve, ensemble=ensemble)) for curve in curves]
        sys.stdout.write(words(family, curves, outcomes))
        sys.stdout.flush()
        all_curves += curves
        all_outcomes += outcomes
    sys.stdout.write(words("all", all_curves, all_outcomes))


if __name__ == "__main__":
    main()
