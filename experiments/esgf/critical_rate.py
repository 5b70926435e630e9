"""Find the critical learning rate of stage 2 from each start: where it diverges or loses 0.2 dB.

    python experiments/esgf/critical_rate.py [runs/esgf] [--seeds 1 2 3] [--sums float32 float16]

Needs stage 1 of `make esgf`. Bisects the rate of `stage2.yaml`, on a logarithmic scale and in short
runs, which are kept in `critical`; runs that are there are not repeated. Writes `critical_rate.md`.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lsr.files import atomic_path
from lsr.runs.history import RunLog
from lsr.runs.table import markdown_table
from lsr.training.ablation import train_variant
from lsr.training.variants import Variant

EXPERIMENT = Path(__file__).with_name("stage2.yaml")
STARTS = {"knee": "knee", "best": "best.safetensors", "end": "end.safetensors"}
"""Start -> its file or folder in the folder of stage 1."""

LOW, HIGH = 1e-5, 0.1
"""Rates between which the critical rate is sought."""

HALVINGS = 5
"""The last interval is HIGH / LOW to the power 1/32: a factor of 1.33."""

STEPS = 40
"""Steps of each run, a quarter of them for each expert."""

LOSS = 0.2
"""Loss of PSNR-Y in dB that counts as failure."""


def critical_rate(survives: Callable[[float], bool]) -> float:
    """Return the rate where `survives` changes from true to false, by bisection.

    Returns:
        The geometric middle of the last interval; 0 if not even `LOW` is survived, infinity if
        `HIGH` is.
    """
    if not survives(LOW):
        return 0.0
    if survives(HIGH):
        return math.inf
    low, high = LOW, HIGH
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        if survives(middle):
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def references(stage1: Path) -> dict[str, float]:
    """Return PSNR-Y of each start, from the log of stage 1.

    Raises:
        ValueError: If stage 1 has not been run to its end.
    """
    knee = stage1 / "knee" / "knee.json"
    missing = [path for path in (knee, *(stage1 / s for s in STARTS.values())) if not path.exists()]
    if missing:
        raise ValueError(f"{missing[0]}: no such start: run stage 1 first (make esgf)")
    psnr = RunLog.read(stage1).scalars["val/psnr_y"]
    step = json.loads(knee.read_text())["step"]
    return {"knee": psnr[step], "best": max(psnr.values()), "end": psnr[max(psnr)]}


def score(folder: Path, start: str, sums: str, seed: int, rate: float) -> float:
    """Return PSNR-Y after a short run of stage 2; NaN if it diverges.

    Args:
        folder: Folder of `make esgf`.
        start: A key of `STARTS`.
        sums: Type of the sums of the attention.
        seed: Seed of the training data.
        rate: Learning rate.
    """
    settings = {
        "model.experts.seed": folder / "stage1" / STARTS[start],
        "model.optimizer.lr": f"{rate:.6g}",
        "trainer.callbacks.NaiveSums.dtype": sums,
        "trainer.max_steps": STEPS,
        "trainer.val_check_interval": STEPS,
    }
    options = tuple(f"--{key}={value}" for key, value in settings.items())
    out = folder / "critical" / f"{start}_{sums}_{seed}_{rate:.3g}"
    if train_variant(Variant(out.name, EXPERIMENT, options), seed, out) is not None:
        return math.nan
    return RunLog.read(out).scalars["val/psnr_y"][STEPS]


def in_words(rates: Sequence[float]) -> str:
    """Return the geometric mean of the rates of several seeds, and the rates themselves."""
    texts = [_text(rate) for rate in rates]
    if any(rate in (0, math.inf) for rate in rates):
        return ", ".join(texts)
    mean = math.exp(sum(map(math.log, rates)) / len(rates))
    return f"**{_text(mean)}** ({', '.join(texts)})"


def _text(rate: float) -> str:
    bounds = {0.0: f"below {LOW:g}", math.inf: f"above {HIGH:g}"}
    return bounds.get(rate, f"{rate:.2g}")


def write_table(found: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """Return the Markdown table: a row for each start, a column for each type of the sums."""
    sums = list(dict.fromkeys(name for _, name in found))
    rows = [[start, *(in_words(found[start, name]) for name in sums)] for start in STARTS]
    return markdown_table(["start", *(f"sums in {name}" for name in sums)], rows) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Find the critical rates and write the table."""
    parser = argparse.ArgumentParser(
        description="Find the learning rate at which stage 2 of make esgf fails, from each start.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    folder = Path("runs/esgf")
    parser.add_argument("folder", type=Path, nargs="?", default=folder, help="that of make esgf")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of the samples of stage 2"
    )
    types = ["float32", "float16", "bfloat16"]
    parser.add_argument(
        "--sums", nargs="+", default=types[:2], choices=types, help="types of the attention's sums"
    )
    options = parser.parse_args(arguments)
    try:
        reference = references(options.folder / "stage1")
    except ValueError as error:
        parser.error(str(error))

    def rate_of(start: str, sums: str, seed: int) -> float:
        least = reference[start] - LOSS
        return critical_rate(
            # NaN is not at least the reference.
            lambda rate: score(options.folder, start, sums, seed, rate) >= least
        )

    found = {
        (start, sums): [rate_of(start, sums, seed) for seed in options.seeds]
        for sums in options.sums
        for start in STARTS
    }
    table = write_table(found)
    with atomic_path(options.folder / "critical_rate.md") as temporary:
        temporary.write_text(table)
    sys.stdout.write(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
