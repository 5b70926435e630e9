"""A run folder with every file that a report reads, written without training."""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from lsr.knee.replay import replay
from lsr.runs.history import RunLog
from lsr.runs.launches import Launch, write_launches

STEPS = range(100, 2401, 100)

CONFIG = """\
seed_everything: 0
model:
  denoiser: {scale: 4, width: 64}
  optimizer: {lr: 3.0e-3}
trainer:
  max_steps: 4000
  callbacks:
    - class_path: callbacks.EMA
      init_args: {decay: 0.99}
    - class_path: callbacks.KneePointCallback
      init_args:
        metrics: {val/psnr_y: max, val/niqe: min}
        min_step: 0
"""


def psnr(step: int) -> float:
    """The curve of `val/psnr_y`, which rises fast and then stays."""
    return 25 - 5 * math.exp(-step / 400)


def write_run(folder: Path, config: str = CONFIG) -> Path:
    """Write a run of stage 1 that has published the knee of its curves, and return its folder."""
    (folder / "knee").mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    write_log(folder, {"val/psnr_y": psnr, "val/niqe": lambda step: 30 - psnr(step)})
    directions = {"val/psnr_y": "max", "val/niqe": "min"}
    verdict = replay(RunLog.read(folder).validations(directions), directions).verdict
    assert verdict.knee_step is not None
    manifest = {
        "step": verdict.knee_step,
        "confirmed_at_step": verdict.confirmed_at_step,
        "reason": verdict.reason,
        "detector": {"metrics": directions, "min_step": 0},
    }
    (folder / "knee" / "knee.json").write_text(json.dumps(manifest))
    write_launches(folder, [launch(0, 1300), launch(1200, 2400, ended="finished")])
    write_pictures(folder, [100, verdict.knee_step, 2400])
    return folder


def knee_of(folder: Path) -> int:
    """Return the step of the published knee."""
    return json.loads((folder / "knee" / "knee.json").read_text())["step"]


def launch(first: int, last: int, ended: str = "") -> Launch:
    return Launch(
        command="lsr fit --config stage1.yaml",
        started="2026-11-27T01:02:03+00:00",
        hardware={"device": "Abacus 9000", "cores": 3},
        versions={"torch": "2.99"},
        first_step=first,
        step=last,
        seconds=100.0,
        ended=ended,
    )


def write_log(folder: Path, curves) -> None:
    """Write `metrics.csv` with curves that are functions of the step, and the headroom."""
    names = [*curves, "health/float16_headroom"]
    lines = [",".join(["step", *(f'"{name}"' for name in names)])]
    for step in STEPS:
        values = [curve(step) for curve in curves.values()]
        lines.append(",".join(map(str, [step, *values, 20_000 / step])))
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def write_pictures(folder: Path, steps, size=(24, 40)) -> None:
    """Write pictures of noise, as `ImageGrid` names them."""
    (folder / "images").mkdir(exist_ok=True)
    for step in steps:
        pixels = np.random.default_rng(step).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"step-{step:07d}.png")
