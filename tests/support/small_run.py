"""Settings that make `experiments/tiny/stage1.yaml` a run of seconds, and `lsr` as a process."""

import subprocess
import sys

import yaml

from support.patience import PATIENCE_S
from support.processes import ROOT, TINY_STAGE1, environment

SMALL = {
    "model.denoiser.width": 32,
    "model.denoiser.depth": 1,
    "model.denoiser.stem_width": 8,
    "data.init_args.crop_size": 32,
    "data.init_args.val_crop_size": 32,
    "data.init_args.batch_size": 2,
    "data.init_args.num_workers": 1,
    "trainer.val_check_interval": 3,
    "trainer.log_every_n_steps": 1,
}


def smallest_stage1(width=32):
    """Return the settings of that file with crops of 16 pixels, one block, and PSNR-Y alone."""
    config = yaml.safe_load(TINY_STAGE1.read_text())
    config["model"]["denoiser"] |= {"width": width, "depth": 1, "stem_width": 8}
    config["model"] |= {"val_metrics": ["psnr_y"], "niqe_parameters": None}
    config["data"]["init_args"] |= {
        "crop_size": 16,
        "val_crop_size": 32,
        "batch_size": 2,
        "num_workers": 0,
    }
    return config


def run(command, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "lsr", *command],
        cwd=ROOT,
        env=environment(HF_HUB_OFFLINE="1"),
        **options,
    )


def finish(command, expected=0):
    process = run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == expected, err
    return out, err
