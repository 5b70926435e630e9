"""Stage 3 through `lsr fit` with tiny settings, in `runs/stage3` of the working folder.

The student begins with random weights, next to a frozen denoiser that is written first. The run
continues from its last checkpoint, and ends at a knee.
"""

from dataclasses import replace
from pathlib import Path

from lsr.cli import main
from lsr.models.checkpoint import model_config, save_denoiser
from support.knee_folder import SMALL as FROZEN
from support.knee_folder import random_denoiser
from support.processes import ROOT
from support.small_stage1 import KNEE
from support.small_stage1 import SETTINGS as STAGE_1

TINY_STAGE3 = ROOT / "experiments" / "tiny" / "stage3.yaml"

SETTINGS = STAGE_1 | {
    "model.init_from": "null",
    "model.student.lpips_weight": 0,
    "model.student.ladd.features": "frozen.safetensors",
    "model.student.ladd.weight": 0.01,
    "model.student.ladd.channels": 4,
    "model.student.unet.weight": 0.01,
    "model.student.unet.channels": 4,
    "trainer.default_root_dir": "runs/stage3",
    f"{KNEE}.stop": "true",
}

if __name__ == "__main__":
    if not Path("frozen.safetensors").exists():
        frozen = random_denoiser(replace(FROZEN, patch_size=4))
        save_denoiser(Path("frozen.safetensors"), frozen.state_dict(), model_config(frozen, 6.0))
    options = [str(part) for name, value in SETTINGS.items() for part in (f"--{name}", value)]
    assert main(["fit", "--config", str(TINY_STAGE3), *options]) == 0
